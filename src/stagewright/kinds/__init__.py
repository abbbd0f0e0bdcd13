"""The kinds of things that Stagewright makes: one file each, with its model, its inputs, its steps and its result."""

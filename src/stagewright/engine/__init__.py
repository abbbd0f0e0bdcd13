"""From a project to finished nodes: the plan, the scheduler, and the workers that do one node each."""

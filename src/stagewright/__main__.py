"""``python -m stagewright`` is the same as the ``stagewright`` command."""

from stagewright.cli.main import main

if __name__ == "__main__":
    main()

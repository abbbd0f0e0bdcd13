"""Acting as Catalyst: its storedir, its snapshots, its command line."""

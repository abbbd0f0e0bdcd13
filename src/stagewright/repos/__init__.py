"""Remote ebuild repositories: resolved, verified, pinned, and cached as folders that builds see read-only."""

"""Linear: a workspace's people, teams and single sign-on."""

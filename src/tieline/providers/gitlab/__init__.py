"""GitLab: a group's people, subgroups and projects."""

"""Amazon Web Services: IAM users, groups, keys and password policy, and the findings of Security Hub."""

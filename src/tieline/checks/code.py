"""Code: changes to it are protected and reviewed, and it is not shown to all the world by mistake."""

from __future__ import annotations

from tieline.sdk import Repository, check


def _is_in_use(repository: Repository) -> bool:
    return not repository.archived


def _may_be_protected(repository: Repository) -> bool:
    """Where there is no protection, `default_branch_protected` says so; its details are not missing three times over."""
    return _is_in_use(repository) and repository.default_branch_protected is not False


@check(
    Repository,
    severity="high",
    controls=["soc2:CC8.1", "iso27001:A.8.4", "iso27001:A.8.32"],
    when=_is_in_use,
)
def default_branch_protected(repository: Repository) -> bool | None:
    """The default branch is protected.

    Add a protection rule for the default branch that sends every change through a pull request. A rule for the whole
    organization covers new repositories too; archive a repository that is no longer changed.
    """
    return repository.default_branch_protected


@check(
    Repository,
    severity="high",
    controls=["soc2:CC8.1", "iso27001:A.8.28", "iso27001:A.8.32"],
    when=_may_be_protected,
)
def changes_reviewed(repository: Repository) -> bool | None:
    """The default branch takes only changes that someone else has approved.

    Require at least one approval in the protection rule of the default branch, and dismiss it when new commits follow.
    """
    return None if repository.required_reviews is None else repository.required_reviews >= 1


@check(
    Repository,
    severity="medium",
    controls=["soc2:CC8.1", "iso27001:A.8.4", "iso27001:A.8.32"],
    when=_may_be_protected,
)
def force_push_refused(repository: Repository) -> bool | None:
    """The history of the default branch cannot be rewritten.

    Turn force pushes off in the protection rule of the default branch, for administrators too, so that the record of who
    changed what stays whole.
    """
    return None if repository.force_push_allowed is None else not repository.force_push_allowed


@check(
    Repository,
    severity="medium",
    controls=["soc2:CC6.1", "iso27001:A.8.4"],
    when=lambda repository: not repository.fork,
)
def repository_not_public(repository: Repository) -> bool | None:
    """The repository is not open to everyone.

    Make the repository private, and replace every secret that its history holds. If it is public on purpose, as open
    source is, mute this finding with that reason.
    """
    return None if repository.visibility is None else repository.visibility != "public"

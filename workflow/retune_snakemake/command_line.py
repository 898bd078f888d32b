"""The command line of this Snakemake, with its profile."""

from argparse import Namespace

from retune_snakemake.snakemake_internals import parse_arguments

# Snakemake's options with which it runs no step.
RUN_NO_STEP = (
    *("archive", "cleanup_metadata", "cleanup_shadow", "conda_cleanup_envs"),
    *("conda_create_envs_only", "container_cleanup_images", "containerize", "d3dag"),
    *("dag", "delete_all_output", "delete_temp_output", "detailed_summary", "dryrun"),
    *("filegraph", "generate_unit_tests", "lint", "list_changes", "list_conda_envs"),
    *("list_input_changes", "list_params_changes", "list_rules", "list_target_rules"),
    *("list_untracked", "print_compilation", "report", "reporter", "rulegraph"),
    *("summary", "touch", "unlock"),
)
# Those of them with which it only shows something, and so must leave every file alone.
ONLY_SHOW = (
    *("d3dag", "dag", "detailed_summary", "dryrun", "filegraph", "lint"),
    *("list_changes", "list_conda_envs", "list_input_changes", "list_params_changes"),
    *("list_rules", "list_target_rules", "list_untracked", "print_compilation"),
    *("rulegraph", "summary"),
)
# Those of them with which it does not ask which steps would run.
PLAN_NO_STEP = ("lint", "list_rules", "list_target_rules", "print_compilation")


def parse_command_line(arguments: list[str]) -> Namespace | None:
    """Return the values of Snakemake's options, None if it was started in another way.

    Args:
        arguments: Arguments of the command `snakemake`.
    """
    try:
        return parse_arguments(arguments)
    except SystemExit:
        return None


def runs_steps(options: Namespace) -> bool:
    """Return whether Snakemake runs steps with these options."""
    return not has_any(options, RUN_NO_STEP)


def only_shows(options: Namespace) -> bool:
    """Return whether Snakemake must change no file with these options."""
    return has_any(options, ONLY_SHOW)


def plans_steps(options: Namespace) -> bool:
    """Return whether Snakemake finds out which steps would run."""
    return not has_any(options, PLAN_NO_STEP)


def has_any(options: Namespace, names: tuple[str, ...]) -> bool:
    """Return whether any of these options is set."""
    return any(getattr(options, name, None) for name in names)

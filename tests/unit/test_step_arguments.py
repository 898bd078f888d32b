"""What a step's source says of its arguments."""

from retune.cli.step_arguments import Argument, argument_helps, summary_in

DOCSTRING = """Do it.

    Why it is done.

    Args:
        settings: The section.
        raw: A folder: it has lines
            that go on (data/raw).
        token_metrics: A file (metrics/tokens.json).

    Returns:
        nothing: Really.
    """


def test_arguments_are_those_under_args_with_lines_joined():
    assert argument_helps(DOCSTRING) == {
        "settings": "The section.",
        "raw": "A folder: it has lines that go on (data/raw).",
        "token_metrics": "A file (metrics/tokens.json).",
    }


def test_without_the_heading_there_are_none():
    assert argument_helps("Do it.\n\nArgs are told elsewhere.") == {}


def test_the_usual_path_stands_at_the_end():
    argument = Argument("token_metrics", "Path", "A file (JSON) of it (plan/a.json).")
    assert (argument.option, argument.usual_path) == ("--token-metrics", "plan/a.json")


def test_the_summary_is_the_first_line_of_the_module():
    assert summary_in("The step `fetch`: a model.\n\nMore.") == "A model."

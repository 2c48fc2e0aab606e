"""Templates as `clarion templates` reads them from files, and says what is wrong with them."""

from pathlib import Path

from pydantic import ValidationError

from api.cli import CommandError
from api.template_shelf import LintError
from flows.yaml_files import BadYamlError, read_yaml
from operators.template_lint import Finding
from schemas.decode import explain, faults
from schemas.template import Template


def read_template(path: Path) -> Template:
    """Read a template from a YAML or JSON file. Raises CommandError naming each fault."""
    try:
        return Template.model_validate(read_yaml(path))
    except BadYamlError as error:
        raise CommandError(f"{path}: {error}") from error
    except ValidationError as error:
        raise CommandError(f"{path}: {explain(faults(Template, error))}") from error


def line_of(one: Finding) -> str:
    """Say a finding in one line."""
    return f"{one.severity}: {one.path}: {one.text}"


def unpublishable(error: LintError) -> CommandError:
    """Say why a version is not published, a line for each fault."""
    return CommandError("\n".join([str(error), *map(line_of, error.findings)]))

"""The pages that nbgrader makes of a graded notebook, for learners and for instructors.

nbgrader gives both, feedback and formgrader's page, to nbconvert's HTML exporter, which
`autograder.nbgrader_config.configure_pages` points at the templates, the step and the filters here.
"""

from __future__ import annotations

import secrets
from functools import cache
from html import escape
from typing import Any

from jinja2 import pass_context
from markupsafe import Markup
from nbformat import NotebookNode
from nbgrader.preprocessors import GetGrades, NbGraderPreprocessor

from autograder.grading import sanitise

Resources = dict[str, Any]


class GetGradesAndWaiting(GetGrades):
    """nbgrader's grades, and which of them still wait for a person.

    A page that says 0 for one that waits would be wrong.
    """

    def _get_score(self, cell: NotebookNode, resources: Resources) -> None:
        super()._get_score(cell, resources)
        name = cell.metadata["nbgrader"]["grade_id"]
        grade = self.gradebook.find_grade(
            name, self.notebook_id, self.assignment_id, self.student_id
        )
        cell.metadata["nbgrader"]["waiting"] = bool(
            grade.needs_manual_grade and grade.manual_score is None
        )


class SanitiseNotebook(NbGraderPreprocessor):
    """Sanitise the notebook before a template sees it, and give the page what is its own."""

    def preprocess(self, nb: NotebookNode, resources: Resources) -> tuple[NotebookNode, Resources]:
        """Return a sanitised copy of the notebook."""
        resources["nonce"] = secrets.token_urlsafe(16)
        resources["code_light"], resources["code_dark"] = code_style()
        for name in ("student", "first_name", "last_name", "notebook_path"):
            if resources.get(name):  # formgrader's templates do not escape
                resources[name] = escape(str(resources[name]))
        return sanitise.sanitised_notebook(nb), resources


@cache
def code_style() -> tuple[str, str]:
    """Colours of code, for light and for dark pages."""
    from pygments.formatters import HtmlFormatter

    light, dark = (
        HtmlFormatter(style=style).get_style_defs(".highlight")
        for style in ("friendly", "github-dark")
    )
    return light, dark


# Filters of the templates. What they return is HTML that is ready.


@pass_context
def markdown2html(context: Any, source: str) -> Markup:
    """Markdown of a cell or of a comment."""
    return Markup(sanitise.markdown_html(source or "", context.get("cell", {}).get("attachments")))


def highlight_code(source: str, metadata: Any = None) -> Markup:
    """A cell's source in colours. It is Python, whatever the cell says of itself."""
    return Markup(sanitise.highlighted(source))


def with_nonce(html: str, nonce: str) -> Markup:
    """nbgrader's own scripts, allowed to run.

    Handlers in attributes never are: the template attaches them instead.
    """
    return Markup(
        html.replace("<script", f'<script nonce="{nonce}"').replace(' onclick="', ' data-onclick="')
    )

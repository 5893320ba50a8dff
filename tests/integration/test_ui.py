"""MLflow's own UI on a finished study, in a real browser: what a person finds who has read no manual."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import mlflow
import pytest

from eusml.tracking.ui import look
from tests.browser import chromium
from tests.integration.conftest import Place
from tests.integration.serving import free_port, server

pytestmark = [pytest.mark.slow, pytest.mark.server, pytest.mark.browser]

MODEL = "eusml-phantom-resnet34"
WAIT_MS = 60_000
NOT_FOUND = "Failed to load resource: the server responded with a status of 404 (Not Found)"
# The UI asks who is signed in; a server without accounts has nobody to name, and Chromium reports every 404.
NOISE = {"/ajax-api/2.0/mlflow/users/current": NOT_FOUND}
"""Path of a request to the one error that it may leave in the console: MLflow's, and none of ours."""
# The comparison's tables are laid out again while the browser still tells them of their size: harmless, and MLflow's.
OWN = ("null ResizeObserver loop completed with undelivered notifications.",)

_CELLS = """([names, values]) => {
  const rows = {};
  [names, values].forEach((grid, side) => {
    for (const cell of grid.firstElementChild.children)
      (rows[cell.style.top] ??= []).push([side, parseFloat(cell.style.left), cell.innerText.trim()]);
  });
  return Object.values(rows).map(cells => cells.sort((a, b) => a[0] - b[0] || a[1] - b[1]).map(cell => cell[2]));
}"""
"""Texts of a table of which each cell stands at its own place, row by row."""


_ANOTHER_PICTURE = """before => {
  const images = [...document.querySelectorAll("[role=dialog] img")];
  if (images.length !== 1 || !images[0].complete || images[0].naturalWidth === 0) return false;
  const [width, height] = [96, 48];
  const context = Object.assign(document.createElement("canvas"), {width, height}).getContext("2d");
  const upper = [0, 0, images[0].naturalWidth, Math.floor(0.4 * images[0].naturalHeight)];
  context.drawImage(images[0], ...upper, 0, 0, width, height);
  const grey = [...context.getImageData(0, 0, width, height).data].filter((_, place) => place % 4 === 0);
  const apart = grey.reduce((sum, value, place) => sum + Math.abs(value - (before[place] ?? 255)), 0) / grey.length;
  return apart > 8 && grey;
}"""
"""Grey levels of the upper part of a dialogue's one picture, once they are others than before. The caption below names
the step, and compression spreads it a little: both would differ where nothing else does."""


@dataclass
class Person:
    """Somebody before a browser, and what the browser did meanwhile."""

    page: Any
    base: str
    experiment: str
    runs: dict[str, str]
    """Name to id."""
    pictured: set[str]
    """Names of those that have pictures by step."""
    asked: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def watch(self) -> None:
        """From now on take down every request and every error, of windows that the page opens, too."""
        everywhere = self.page.context
        everywhere.on("request", lambda request: self.asked.append(request.url))
        everywhere.on("weberror", lambda error: self.errors.append(str(error.error)))
        everywhere.on("console", self._said)
        self._watch_sockets(self.page)
        everywhere.on("page", self._watch_sockets)

    def opens(self, place: str) -> None:
        """An address of the UI."""
        self.page.goto(f"{self.base}/#{place}")

    def opens_run(self, name: str, tab: str = "") -> None:
        """A run's page."""
        self.opens(f"/experiments/{self.experiment}/runs/{self.runs[name]}{tab}")

    def sees(self, text: str | re.Pattern[str]) -> None:
        """Wait for a text."""
        self.page.get_by_text(text, exact=isinstance(text, str)).first.wait_for(timeout=WAIT_MS)

    def _watch_sockets(self, page: Any) -> None:
        page.on("websocket", lambda socket: self.asked.append(socket.url))  # which are no requests

    def _said(self, message: Any) -> None:
        path = urlsplit(message.location["url"]).path
        if message.type == "error" and NOISE.get(path) != message.text and message.text not in OWN:
            self.errors.append(f"{message.text} ({path})")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def ui(finished: Place) -> Iterator[str]:
    port, uri = free_port(), finished.environment["MLFLOW_TRACKING_URI"]
    with server(
        finished, port, "/health", "ui", "-p", str(port), "--workers", "1", "--backend-store-uri", uri
    ) as found:
        yield found.base


@pytest.fixture
def person(finished: Place, browser: Any, ui: str, tmp_path: Path) -> Iterator[Person]:
    """Whatever they do: nothing may leave the machine, and nothing may go wrong unseen."""
    client = mlflow.MlflowClient(tracking_uri=finished.environment["MLFLOW_TRACKING_URI"])
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    # Others may have used the store of the finished study, too: the first runs are those of `main`.
    found = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time DESC"])
    ids = {run.info.run_name: run.info.run_id for run in found}
    context = browser.new_context(viewport={"width": 1600, "height": 1300})
    pictured = {run.info.run_name for run in found if "mlflow.loggedImages" in run.data.tags}
    someone = Person(context.new_page(), ui, experiment.experiment_id, ids, pictured)
    someone.watch()
    yield someone
    someone.page.screenshot(path=str(tmp_path / "last.png"))
    context.close()
    assert someone.asked
    assert {urlsplit(url).hostname for url in someone.asked if not url.startswith(("data:", "blob:"))} == {"127.0.0.1"}
    assert someone.errors == []


def test_runs_have_names_and_stand_below_their_pipeline_and_compare_shows_the_intervals(person: Person) -> None:
    page = person.page
    person.opens(f"/experiments/{person.experiment}/runs")
    row = page.locator(".ag-row")
    pipeline = row.filter(has_text="tiny: main").last  # the oldest, where others ran it again
    pipeline.wait_for(timeout=WAIT_MS)
    assert row.filter(has_text="evaluate resnet34").count() == 0
    pipeline.locator("[class*='expander'], button[title*='xpand'], span[role='button'], button").first.click()
    for name in ("data", "augment", "train resnet34", "train resnet50", "compare", "promote"):
        page.get_by_role("link", name=name, exact=True).first.wait_for(timeout=WAIT_MS)
    for name in ("evaluate resnet34", "evaluate resnet50"):
        link = page.get_by_role("link", name=name, exact=True)
        row_id = row.filter(has=link).first.get_attribute("row-id")
        page.locator(f".ag-row[row-id='{row_id}'] input[type=checkbox]").first.check(force=True)
    page.get_by_role("button", name="Compare", exact=True).or_(page.get_by_role("link", name="Compare")).first.click()
    person.sees(re.compile("Comparing 2 Runs"))
    for text in ("evaluate resnet34", "evaluate resnet50"):
        person.sees(text)
    for setting, of_both in (("trained.arch", ["resnet34", "resnet50"]), ("trained.epochs", ["2", "1"])):
        texts = page.locator("tr").filter(has=page.get_by_text(setting, exact=True)).first.inner_text().split()
        assert sorted(texts[1:]) == sorted(of_both)
    measures = _measures(page)
    for name in ("accuracy", "accuracy_ci_low", "accuracy_ci_high", "accuracy_count", "accuracy_total"):
        assert [0 <= float(value) <= 5 for value in measures[f"test/{name}"]] == [True, True], name
    for low, value, high in zip(*(measures[f"test/accuracy{end}"] for end in ("_ci_low", "", "_ci_high")), strict=True):
        assert 0 <= float(low) <= float(value) <= float(high) <= 1


def test_networks_stand_side_by_side_with_their_intervals_where_the_command_leads(
    person: Person, finished: Place
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", finished.environment["MLFLOW_TRACKING_URI"])
        patch.setenv("MLFLOW_EXPERIMENT_NAME", "tiny")
        address = look("ui").networks_at(person.base)
    assert address is not None
    page = person.page
    page.goto(address)
    head = page.locator(".ag-header-cell")
    for name in ("test/accuracy", "test/accuracy_ci_low", "test/accuracy_ci_high", "test/auroc"):
        head.filter(has=page.get_by_text(name, exact=True)).first.wait_for(timeout=WAIT_MS)
    for name in ("evaluate resnet34", "evaluate resnet50"):
        page.get_by_role("link", name=name, exact=True).first.wait_for(timeout=WAIT_MS)
    assert page.get_by_role("link", name="tiny: main", exact=True).count() == 0
    # In their order beside the names, one value for each network.
    for name in ("test/accuracy_ci_low", "test/accuracy", "test/accuracy_ci_high"):
        values = page.locator(f".ag-center-cols-container [col-id='metrics.`{name}`']").all_inner_texts()
        assert [0 <= float(value) <= 1 for value in values] == [True] * len(values)
        assert len(values) >= 2


def _measures(page: Any) -> dict[str, list[str]]:
    """Metric to the values of both runs. The table draws only what is in view, names and values apart."""
    grids = page.locator(".ReactVirtualized__Grid")
    grids.nth(1).wait_for(timeout=WAIT_MS)
    rows: dict[str, list[str]] = {}
    for top in range(0, grids.nth(1).evaluate("grid => grid.scrollHeight"), 200):
        grids.nth(1).evaluate("(grid, top) => { grid.scrollTop = top }", top)
        page.wait_for_timeout(60)
        for name, *values in grids.evaluate_all(_CELLS):
            if len(values) == 2:  # one side may lag behind the other at the edge of the view
                rows[name] = values
    return rows


def test_a_training_draws_its_losses_over_the_epoch(person: Person) -> None:
    page = person.page
    person.opens_run("train resnet34", "/model-metrics")
    for name in ("curve/train_loss", "curve/test_loss"):
        person.sees(re.compile(re.escape(name)))
        card = page.locator("[data-testid='experiment-view-compare-runs-card']").filter(has_text=name)
        card.scroll_into_view_if_needed()
        card.locator(".js-plotly-plot .scatterlayer").first.wait_for(timeout=WAIT_MS, state="attached")
        steps = card.locator(".js-plotly-plot").first.evaluate("plot => Array.from(plot.data[0].x)")
        assert steps == [1, 2], name
        assert card.get_by_text("Step", exact=True).count() == 1


def test_errors_stand_behind_a_slider_that_begins_with_the_surest(person: Person) -> None:
    page = person.page
    # Two epochs teach nobody five cases; which network has errors is left to chance.
    name = next(name for name in ("evaluate resnet50", "evaluate resnet34") if name in person.pictured)
    person.opens_run(name, "/model-metrics")
    page.get_by_placeholder("Search metric charts").fill("misclassified")
    card = page.locator("[data-testid='experiment-view-compare-runs-card']").filter(has_text="misclassified")
    card.locator("button").first.click(timeout=WAIT_MS)  # full screen, for the card lists all parameters first
    dialog = page.get_by_role("dialog")
    dialog.locator("img").first.wait_for(timeout=WAIT_MS)
    assert dialog.locator("img").first.evaluate("image => image.decode().then(() => image.naturalHeight)") > 200
    assert dialog.get_by_text("No image logged at this step").count() == 0


def test_what_the_network_saw_changes_with_the_epoch_that_the_slider_stands_at(person: Person) -> None:
    page = person.page
    person.opens_run("train resnet34", "/model-metrics")
    page.get_by_placeholder("Search metric charts").fill("augmentation")
    card = page.locator("[data-testid='experiment-view-compare-runs-card']").filter(has_text="augmentation")
    card.locator("button").first.click(timeout=WAIT_MS)  # full screen, for the card lists all parameters first
    dialog = page.get_by_role("dialog")
    slider = dialog.get_by_role("slider")
    slider.wait_for(timeout=WAIT_MS)
    assert [slider.get_attribute(f"aria-value{name}") for name in ("min", "now", "max")] == ["0", "0", "2"]
    shown = page.wait_for_function(_ANOTHER_PICTURE, arg=[], timeout=WAIT_MS).json_value()
    for epoch in (1, 2):
        slider.press("ArrowRight")
        shown = page.wait_for_function(_ANOTHER_PICTURE, arg=shown, timeout=WAIT_MS).json_value()
        assert slider.get_attribute("aria-valuenow") == str(epoch)
    assert dialog.get_by_text("No image logged at this step").count() == 0


def test_the_report_is_read_in_the_artifact_viewer(person: Person) -> None:
    person.opens_run("tiny: main", "/artifacts/report/report.html")
    report = person.page.frame_locator("iframe")
    report.get_by_role("heading", name="Summary", exact=True).wait_for(timeout=WAIT_MS)
    assert report.get_by_text("SYNTHETIC").count() > 0
    assert report.locator("main section").count() > 15


def test_figures_of_an_evaluation_are_shown(person: Person) -> None:
    page = person.page
    person.opens_run("evaluate resnet34", "/artifacts")
    for name in ("roc.png", "confusion.png", "calibration.png", "precision_recall.png"):
        page.get_by_text(name, exact=True).first.click(timeout=WAIT_MS)
        page.get_by_role("heading", name=name).or_(page.get_by_title(name)).first.wait_for(timeout=WAIT_MS)
        page.wait_for_function(
            """name => Array.from(document.images).some(image => image.naturalWidth > 300)""", arg=name, timeout=WAIT_MS
        )


def test_the_comparison_answers_to_the_mouse_in_the_artifact_viewer(person: Person) -> None:
    person.opens_run("compare", "/artifacts/roc_pr_calibration.html")
    figures = person.page.frame_locator("iframe")
    figures.locator("#test-roc .scatterlayer .trace").first.wait_for(timeout=WAIT_MS, state="attached")
    legend = figures.locator("#test-roc .legendtext")
    texts = legend.all_text_contents()
    assert [text.partition(": AUROC")[0] for text in texts[:2]] == ["resnet34", "resnet50"]
    assert any("no image" in text for text in texts[2:])


def test_a_registered_model_tells_its_own_story(person: Person) -> None:
    page = person.page
    person.opens(f"/models/{MODEL}")
    person.sees("SYNTHETIC images, not patients.")
    person.sees(re.compile("Use the version that has the alias"))
    person.sees(re.compile("ResNet-34 that tells GIST from leiomyoma"))
    person.sees(re.compile("eusml.decision"))
    page.get_by_role("link", name="Version 1", exact=True).click()
    # Other files' tests may have promoted it again by now, which leaves it where it is.
    person.sees(re.compile(rf"{MODEL} version 1: (promoted to|stays) champion"))
    person.sees("SYNTHETIC images, not patients.")
    for heading in ("What it is", "What it is for", "What it can do", "What nobody knows", "Licence"):
        page.get_by_role("heading", name=heading, exact=True).wait_for(timeout=WAIT_MS)

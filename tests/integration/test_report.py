"""The report that `main` leaves: opened from disk in a real browser, without a network, by people of all kinds."""

from pathlib import Path
from typing import Any

import mlflow
import pytest

from tests.browser import opened_from_disk
from tests.integration.conftest import Place

pytestmark = [pytest.mark.slow]


@pytest.fixture(scope="module")
def report(finished: Place, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the report of the finished study."""
    client = mlflow.MlflowClient(tracking_uri=finished.environment["MLFLOW_TRACKING_URI"])
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id], "attributes.run_name = 'tiny: main'",
                                order_by=["attributes.start_time ASC"], max_results=1)  # fmt: skip
    return Path(client.download_artifacts(run.info.run_id, "report", str(tmp_path_factory.mktemp("report"))))


def test_main_ends_with_a_report(report: Path) -> None:
    page = (report / "report.html").read_text()
    assert len(page) < 5_000_000
    for section in ("summary", "cohort", "results", "comparison", "failures", "promotion", "environment", "checklists"):
        assert f'<section id="{section}"' in page
    for figure in (report / "figures").glob("*.svg"):
        assert (report / "data" / f"{figure.stem}.csv").is_file()
    assert "trained on cpu" in page
    assert "SYNTHETIC" in page


@pytest.mark.browser
def test_a_person_reads_it_from_disk(report: Path) -> None:
    from axe_playwright_python.sync_playwright import Axe

    with opened_from_disk(report / "report.html", 1200, 900) as opened:
        page = opened.page
        _every_section_is_reached(page)
        found: Any = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        narrow = page.context.new_page()
        narrow.set_viewport_size({"width": 390, "height": 800})
        narrow.goto((report / "report.html").as_uri())
        assert narrow.evaluate("document.documentElement.scrollWidth") <= 390  # nothing sticks out on a telephone
        pdf = page.pdf(prefer_css_page_size=True)
    assert opened.said == []
    assert opened.asked == []
    assert pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page ") < 60


def _every_section_is_reached(page: Any) -> None:
    links = page.locator("nav a")
    assert links.count() == page.locator("main section").count() > 15
    for number in range(links.count()):
        link = links.nth(number)
        address = link.get_attribute("href")
        link.click()
        heading = page.locator(f"{address} > h2")
        assert heading.is_visible()
        top = heading.evaluate("node => node.getBoundingClientRect().top")
        assert -5 <= top < 900, address
        page.evaluate("window.scrollTo(0, 0)")

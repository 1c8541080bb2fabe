"""Evaluates the shipped rules on many stories at once, and tells which alerts fire when and what the Alertmanager notifies.

Each story gets clusters of its own, so that one run of promtool evaluates all stories that take about as long: the rules join
within a cluster alone. promtool tells the alerts as what it got instead of nothing.
"""

import json
import re
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import yaml

from exporter_model import MINUTE, STEP, input_series
from helpers.alert_rules import EVERY_GROUP, RULE_FILES
from helpers.paths import DEPLOY
from helpers.prometheus import promtool

INHIBITIONS = yaml.safe_load((DEPLOY / "prometheus" / "alertmanager.yaml").read_text())["inhibit_rules"]
# Each after those whose recordings it reads.
GROUPS_IN_ORDER = sorted((group["name"] for group in EVERY_GROUP), key=lambda name: name != "imds-outages")
# Separates the number of a story from its own cluster.
MARK = "~"
# Stories that take as many minutes at most are evaluated together.
LENGTHS = (45, 70, 140, 310, 500, 730)


@dataclass
class Story:
    """What happens to some targets in so many minutes, and when Prometheus does not run: (from, to), in minutes."""

    targets: list
    minutes: float
    unseen: tuple = ()


def alerts_of(stories, folder, version="2.42", files=tuple(RULE_FILES), step=STEP):
    """For each story, by its key: for each evaluation, from the start on, the labels of the alerts that fire. The rules are
    those of the shipped files, all of them loaded as they are, or of others."""
    batches = defaultdict(dict)
    for key, story in stories.items():
        batches[next(length for length in LENGTHS if story.minutes <= length), tuple(story.unseen)][key] = story

    def run(batch):
        number, (_, of_batch) = batch
        return _run(folder / f"{version}-{number}.json", of_batch, version, files, step)

    found = {}
    with ThreadPoolExecutor(2) as pool:
        for result in pool.map(run, enumerate(sorted(batches.items(), reverse=True))):
            found |= result
    return found


def _run(file, stories, version, files, step):
    """One run of promtool."""
    keys, series, minutes = list(stories), [], max(story.minutes for story in stories.values())
    for number, key in enumerate(keys):
        story = stories[key]
        targets = [replace(target, labels={**target.labels, "cluster": f"{number}{MARK}{target.labels.get('cluster', '')}"})
                   for target in story.targets]
        series += input_series(targets, story.minutes, story.unseen, step)
    checks = [{"expr": 'ALERTS{alertstate="firing"}', "eval_time": f"{second}s"} for second in range(0, int(minutes * MINUTE) + 1, step)]
    # Whether it was evaluated at all.
    checks.append({"expr": "vector(time())", "eval_time": f"{int(minutes * MINUTE)}s"})
    file.write_text(json.dumps({
        "rule_files": [str(one) for one in files], "evaluation_interval": f"{step}s", "group_eval_order": GROUPS_IN_ORDER,
        "tests": [{"interval": f"{step}s", "input_series": series, "promql_expr_test": checks}]}))
    done = promtool("test", "rules", file, version=version, patient=True)
    output = done.stdout + done.stderr
    found = {key: [[] for _ in range(int(story.minutes * MINUTE) // step + 1)] for key, story in stories.items()}
    results = re.findall(r"time: (?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?,\s+exp: nil\s+got: (.+)", output)
    assert "err: " not in output and "invalid" not in output, re.findall(r".*(?:err: |invalid).*", output)[:3]
    assert results and output.count("got: ") == len(results), output[:2000]
    for hours, minutes, seconds, got in results:
        index = (int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0)) // step
        for text in re.findall(r"\{([^}]*)\}", got):
            labels = dict(re.findall(r'(\w+)="([^"]*)"', text))
            if not labels:
                continue
            number, _, cluster = labels.pop("cluster").partition(MARK)
            labels = {name: value for name, value in labels.items() if name not in ("__name__", "alertstate")}
            if cluster:
                labels["cluster"] = cluster
            of_story = found[keys[int(number)]]
            if index < len(of_story):
                of_story[index].append(labels)
    return found


def matches(matchers, labels):
    """Whether the labels of an alert match all of these, as alertmanager.yaml has them."""
    for matcher in matchers:
        name, operator, value = re.fullmatch(r'(\w+)(=~?)"(.*)"', matcher).groups()
        if not re.fullmatch(value if operator == "=~" else re.escape(value), labels.get(name, "")):
            return False
    return True


def arrives(alerts):
    """Those that no other inhibits."""
    sources = [(rule, [other for other in alerts if matches(rule["source_matchers"], other) and not matches(rule["target_matchers"], other)])
               for rule in INHIBITIONS]

    def inhibited(alert):
        return any(all(alert.get(label, "") == other.get(label, "") for label in rule["equal"])
                   for rule, others in sources if others and matches(rule["target_matchers"], alert) for other in others)
    return [alert for alert in alerts if not inhibited(alert)]


def notifications(evaluations):
    """(index of the evaluation, labels) of what the Alertmanager tells anew: what has been told is not told again while it
    fires, although another alert inhibits it for a while."""
    told, known = [], []
    for index, alerts in enumerate(evaluations):
        known = [alert for alert in known if alert in alerts]
        for alert in arrives(alerts):
            if alert not in known:
                known.append(alert)
                told.append((index, alert))
    return told

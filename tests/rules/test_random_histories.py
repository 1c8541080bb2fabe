"""Random histories of machines, against what the alerts promise, in words:

  * An IMDS that fails for a quarter of an hour, or for much of half an hour, has been paged.
  * Clients whose credentials are about to expire in an outage have been paged; so has a workload that started in one with
    its exporter, once IMDS is fine again, until it restarts.
  * A page stays while the fault does, although the exporter dies.
  * Nobody is paged without such a fault, nor long after it.
  * A fault is paged once; an outage of the fleet pages once for all machines.

Each history is an exporter, or a fleet. What arrives is what fires and is not inhibited by the rules of alertmanager.yaml. Prometheus itself restarts in each batch of
histories, at a moment that suits none of them.
"""

import json
import os
import random
from dataclasses import dataclass, field

import pytest

from evaluation import Story, alerts_of, arrives, notifications
from exporter_model import METRICS, MINUTE, Exporter
from helpers.paths import RULES
from helpers.prometheus import loaded_rules

# The knob of the whole suite: a thousand before a release.
THOROUGH = os.environ.get("THOROUGH") == "1"
HISTORIES, FLEETS = (960, 40) if THOROUGH else (24, 2)
MACHINES = 5
MINUTES = 110
# The slowest scrapes that the rules are made for.
SCRAPE = 60
# When Prometheus does not run, in each batch of histories.
UNSEEN = [(23, 24.5), (41, 43), (66, 69), (87, 91)]
FETCHES = {"ImdsCredentialsFetchFailing", "ImdsFetchUnreliable", "ImdsClientsFailing"}
# What every third machine gets, so that credentials end in an outage: renewed after half an hour, valid for 50 minutes.
ROTATIONS, LIFETIME_MINUTES = range(-20, MINUTES, 30), 50
# An alert waits for at most so many minutes, and stays for so many.
WAITS, STAYS = 16, 13
KINDS = [("connect_refused", "token"), ("read_timeout", "role"), ("server_error", "credentials"), ("hop_limit", "token")]
READ = [metric for metric in METRICS if not metric.endswith(("_bucket", "_failures_total", "role_expected"))]


@dataclass
class Machine:
    """What happens to one machine. Spans are in minutes; `failing` are those of the faults."""

    seed: int
    failing: list = field(default_factory=list)
    fails: list = field(default_factory=list)
    lost: list = field(default_factory=list)
    dead: list = field(default_factory=list)
    restarts: list = field(default_factory=list)
    pods: list = field(default_factory=list)

    @property
    def ends_soon(self):
        """Its credentials are short-lived."""
        return self.seed < HISTORIES and self.seed % 3 == 1

    @property
    def is_sidecar(self):
        """Its exporter starts and stops with the workload, at the minutes in `pods`."""
        return self.seed < HISTORIES and self.seed % 3 == 2

    @property
    def unseen(self):
        return UNSEEN[self.seed % len(UNSEEN)]

    @property
    def hidden(self):
        """When Prometheus sees nothing of it."""
        return [*self.lost, *self.dead, self.unseen]

    def clients_fail_from(self, minute):
        """When the clients fail that renewed their credentials last at this minute: 15 minutes before the end."""
        return max(rotation for rotation in ROTATIONS if rotation <= minute) + LIFETIME_MINUTES - 15

    def fault(self, dice, start, minutes):
        """IMDS fails, as one kind or several in turn."""
        end = min(start + minutes, MINUTES)
        self.failing.append((start, end))
        while start < end:
            change = min(end, start + dice.choice([1, 3, 8, 200]))
            self.fails.append((start, change, *dice.choice(KINDS)))
            start = change
        return end

    def fails_at(self, minute):
        return any(start <= minute < end for start, end in self.failing)

    def is_dead(self, minute):
        return any(start <= minute < end for start, end in self.dead)

    def exporter(self, cluster, **labels):
        target = {"job": "kubernetes-pods", "instance": f"10.0.0.1:{10000 + self.seed}", "cluster": cluster, **labels}
        more = {"workload": "starts-with-exporter", "replaced": self.pods} if self.is_sidecar else {}
        if self.ends_soon:
            more = {"rotates": list(ROTATIONS), "lifetime": LIFETIME_MINUTES * MINUTE}
        return Exporter(target, fails=self.fails, lost=self.lost, dead=self.dead, restarts=self.restarts,
                        keeps_state=self.is_sidecar or bool(self.seed % 2), metrics=READ, **more)


def story(seed):
    """One machine: a walk through states, each for a random time."""
    dice = random.Random(seed)
    told, now = Machine(seed), dice.uniform(1, 20)
    while now < MINUTES - 1:
        what = dice.choices(["fine", "blip", "outage", "long", "flapping", "crash", "death", "gap", "pod"],
                            [6, 3, 2, 2, 2, 2, 1, 2, 4 * told.is_sidecar])[0]
        if what == "fine":
            now += dice.uniform(1, 40)
        elif what == "blip":
            now = told.fault(dice, now, dice.uniform(0.2, 2)) + dice.uniform(0.3, 10)
        elif what == "outage":
            now = told.fault(dice, now, dice.uniform(2, 9))
            now += dice.uniform(0.5, 15)
        elif what == "long":
            begin = now
            now = told.fault(dice, now, dice.uniform(10, 60))
            if told.is_sidecar:
                told.pods.append(dice.uniform(begin + 2, now - 3))
            elif dice.random() < 0.3 and now - begin > 15:
                death = dice.uniform(begin + 2, now - 10)
                told.dead.append((death, dice.uniform(death + 5, now)))
            now += dice.uniform(1, 20)
        elif what == "flapping":
            on, off = dice.uniform(1, 9), dice.uniform(0.5, 4)
            for _ in range(dice.randint(3, 12)):
                now = told.fault(dice, now, on) + off
        elif what == "crash":
            told.restarts.append(now)
            now += dice.uniform(1, 5)
        elif what == "death":
            end = now + dice.uniform(2, 15)
            told.dead.append((now, end))
            now = end + dice.uniform(1, 10)
        elif what == "pod":
            told.pods.append(now)
            now += dice.uniform(3, 20)
        elif what == "gap":
            told.lost.append((now, now + dice.uniform(0.5, 2)))
            now += dice.uniform(3, 10)
    told.failing = [span for span in told.failing if span[0] < MINUTES]
    return told


@dataclass
class Fleet:
    """Several machines, of which some fail at the same time, and perhaps one earlier and longer."""

    seed: int
    stories: list
    hit: int
    outage: tuple
    earlier: bool


def fleet(seed):
    dice = random.Random(seed)
    hit, start = dice.randint(1, MACHINES - 1), dice.uniform(30, 45)
    end, earlier = start + dice.uniform(4, 40), dice.random() < 0.5
    stories = [Machine(seed * 10 + number) for number in range(MACHINES)]
    for machine in stories[1:hit + 1]:
        machine.fault(dice, start + dice.uniform(0, 0.5), end - start)
    if earlier:
        stories[0].fault(dice, start - dice.uniform(13, 20), 200)
    return Fleet(seed, stories, hit, (start, end), earlier)


def rules_without_annotations(folder):
    """The rules as Prometheus has loaded them, in a file that evaluates faster: promtool renders the annotations of each
    alert at each evaluation."""
    file, groups = folder / "rules.json", loaded_rules(folder, RULES)
    for group in groups:
        for rule in group["rules"]:
            rule.pop("annotations", None)
    file.write_text(json.dumps({"groups": groups}))
    return file


def prepare(folder, _):
    """Each history with its pages: those of machines, and those of fleets."""
    histories = [story(seed) for seed in range(HISTORIES)]
    fleets = [fleet(10_000 + seed) for seed in range(FLEETS)]
    stories = {one.seed: Story([one.exporter("c")], MINUTES, (one.unseen,)) for one in histories}
    stories |= {one.seed: Story([machine.exporter("c", node=f"n{number}") for number, machine in enumerate(one.stories)], MINUTES)
                for one in fleets}
    found = alerts_of(stories, folder, files=[rules_without_annotations(folder)], step=SCRAPE)
    pages = {seed: Pages([[alert for alert in alerts if alert["severity"] == "critical"] for alerts in by_minute])
             for seed, by_minute in found.items()}
    return tuple([(one, pages[one.seed]) for one in some] for some in (histories, fleets))


@pytest.fixture
def told(prepared):
    return prepared()


class Pages:
    """The pages of one history: what is shown as firing, and what notifies anew, as (alert, machine or instance)."""

    def __init__(self, firing_by_minute):
        self.shown, self.notified = {}, {minute: set() for minute in range(MINUTES)}
        for minute, alerts in enumerate(firing_by_minute):
            self.shown[minute] = {self.told(alert) for alert in arrives(alerts)}
        for minute, alert in notifications(firing_by_minute):
            self.notified.setdefault(minute, set()).add(self.told(alert))

    @staticmethod
    def told(alert):
        return alert["alertname"], alert.get("machine") or alert.get("instance")

    def names(self, minute):
        """The alerts that are shown."""
        return {alert for alert, _ in self.shown.get(minute, ())}


def paged(pages, minute):
    return pages.names(minute) & FETCHES


def seen_failing(one):
    """For each minute, what was last seen of IMDS: a dead exporter, or a lost scrape, changes nothing."""
    last, seen = False, []
    for minute in range(MINUTES):
        if not any(start <= minute < end for start, end in one.hidden):
            last = one.fails_at(minute - 0.1) and one.fails_at(minute)
        seen.append(last)
    return seen


def free_of(spans, start, end):
    """Nothing of these spans lies between these minutes."""
    return not any(begin < end and start < stop for begin, stop in spans)


def undisturbed(one, start, end):
    """Nothing hides IMDS from Prometheus."""
    return free_of([*one.hidden, *((at - 0.1, at + 1) for at in [*one.restarts, *one.pods])], start, end)


def shown(pages, alert):
    """The minutes at which an alert is shown."""
    return [minute for minute in range(MINUTES) if alert in pages.names(minute)]


def without_cause(alert, minutes, possible):
    """What is wrong with an alert at these minutes, if anything is."""
    wrong = [minute for minute in minutes if minute not in possible]
    return f"{alert} at {wrong} without a cause" if wrong else None


def check(histories, promise):
    broken = {one.seed: why for one, pages in histories if (why := promise(one, pages))}
    assert not broken, f"{len(broken)} of {len(histories)} histories, by seed: {dict(list(broken.items())[:5])}"


def test_a_failure_of_a_quarter_of_an_hour_is_paged(told):
    def promise(one, pages):
        for start, end in one.failing:
            if end - start >= 16 and undisturbed(one, start - 3, start + 16) and start + 16 < MINUTES:
                if not any(paged(pages, minute) for minute in range(int(start), int(start + 16))):
                    return f"fails from {start:.1f}"
    check(told[0], promise)


def test_a_failure_of_much_of_half_an_hour_is_paged(told):
    def promise(one, pages):
        for minute in range(32, MINUTES - 4):
            share = sum(one.fails_at(minute - 30 + quarter / 4) for quarter in range(120)) / 120
            if share > 0.45 and undisturbed(one, minute - 31, minute + 4):
                if not any(paged(pages, at) for at in range(minute - 30, minute + 4)):
                    return f"fails for {share:.0%} of the half an hour before {minute}"
    check(told[0], promise)


def test_a_page_outlasts_the_exporter(told):
    def promise(one, pages):
        for start, end in one.dead:
            seen = seen_failing(one)
            if int(start) > 2 and all(seen[int(start) - 2:int(start) + 1]):
                for minute in range(int(start) + 13, int(min(end, MINUTES - 1))):
                    if not paged(pages, minute):
                        return f"no page at {minute}, after the exporter died at {start:.1f}"
    check(told[0], promise)


def test_nobody_is_paged_without_a_fault(told):
    def promise(one, pages):
        seen = seen_failing(one)
        for minute in range(1, MINUTES):
            # Outages that are shorter than a minute or two fall between the scrapes that are looked at in `seen`.
            lately = max(sum(seen[max(0, minute - 32):minute + 1]),
                         sum(one.fails_at(minute - ago / 4) for ago in range(4 * 32)) / 4)
            new = paged(pages, minute) - paged(pages, minute - 1) - {"ImdsClientsFailing"}
            # What fails again within 75 minutes of a long outage is paged after two minutes.
            again = lately >= 1.75 and any(stop - start >= 6.75 and minute - 79 < stop < minute for start, stop in one.failing)
            if new and lately < 8 and not (again and new == {"ImdsFetchUnreliable"}):
                return f"page at {minute} after {lately} minutes of failure"
            # What is unreliable stays so for an hour.
            ago = 65 if "ImdsFetchUnreliable" in pages.names(minute) else 45
            if paged(pages, minute) and minute > ago + 5 and not any(seen[minute - ago:minute + 1]) and not any(
                    one.fails_at(minute - quarter / 4) for quarter in range(4 * ago)):
                return f"page at {minute}, long after the fault"
            others = pages.names(minute) - FETCHES - {"ImdsClientsStuck"}
            if others:
                return f"{others} at {minute}"
    check(told[0], promise)


def test_clients_that_fail_near_the_expiry_are_paged_and_no_others(told):
    def promise(one, pages):
        fails = shown(pages, "ImdsClientsFailing")
        if not one.ends_soon:
            return f"clients fail at {fails} with hours left" if fails else None
        for start, end in one.failing:
            begin = max(start, one.clients_fail_from(start))
            if end >= begin + WAITS and begin + WAITS < MINUTES and undisturbed(one, start - 3, begin + WAITS):
                if not any(begin <= minute < begin + WAITS for minute in fails):
                    return f"no page although clients fail from {begin:.1f}"
        seen, possible, last_success = seen_failing(one), set(), 0
        for minute in range(MINUTES):
            last_success = last_success if seen[minute] else minute
            # What was seen last is up to two minutes old, and the page stays.
            if seen[minute] and minute + 1 >= one.clients_fail_from(max(0, last_success - 3)):
                possible |= set(range(minute, minute + STAYS))
        return without_cause("ImdsClientsFailing", fails, possible)
    check(told[0], promise)
    assert any(shown(pages, "ImdsClientsFailing") for _, pages in told[0])


def test_workloads_that_started_in_an_outage_are_paged_and_no_others(told):
    def promise(one, pages):
        stuck = shown(pages, "ImdsClientsStuck")
        if not one.is_sidecar:
            return f"stuck at {stuck}, although nothing is known of the workload" if stuck else None
        possible = set()
        for start, end in zip([0, *one.pods], [*one.pods, MINUTES + STAYS]):
            around = [one.fails_at(start + ago / 4) for ago in range(-8, 13)]
            if any(around):
                possible |= set(range(int(start), int(end) + STAYS + 1))
            back = max((until for since, until in one.failing if since <= start < until), default=None)
            if not all(around[4:]) or back is None or back + WAITS >= min(end, MINUTES):
                continue
            # Exporters crash as they like; IMDS must be fine, and Prometheus see it.
            fine = free_of([*one.failing, *one.hidden], back, back + WAITS)
            if fine and not any(back <= minute < back + WAITS for minute in stuck):
                return f"no page of what started at {start:.1f}"
        return without_cause("ImdsClientsStuck", stuck, possible)
    check(told[0], promise)
    assert any(shown(pages, "ImdsClientsStuck") for _, pages in told[0])


def test_a_fault_is_paged_once(told):
    def promise(one, pages):
        starts = []
        for minute in range(1, MINUTES):
            # That clients begin to fail is another page.
            begins = {alert for alert, _ in pages.notified[minute]} & FETCHES - {"ImdsClientsFailing"}
            if begins and paged(pages, minute - 1) & paged(pages, minute):
                return f"a second page at {minute}, while one lasts"
            if begins:
                starts.append(minute)
        seen = seen_failing(one)
        for first, second in zip(starts, starts[1:]):
            if all(any(seen[at:at + 4]) for at in range(first, second)):
                return f"pages at {first} and {second} for one fault"
    check(told[0], promise)


def test_an_outage_of_the_fleet_pages_once_and_hides_no_other_fault(told):
    def promise(one, pages):
        start, end = one.outage
        many = one.hit + one.earlier >= 3
        for minute in range(int(start) + 3, int(end)):
            alerts = pages.shown[minute]
            fleet_alerts = [alert for alert, _ in alerts if alert == "ImdsFleetOutage"]
            if bool(fleet_alerts) != many:
                return f"ImdsFleetOutage at {minute}: {bool(fleet_alerts)} with {one.hit} machines"
            instances = {instance for alert, instance in alerts if alert in FETCHES}
            own = "n0"
            if one.earlier and own not in instances and minute > start + 3:
                return f"the earlier fault is hidden at {minute}"
            if many and instances - {own}:
                return f"{instances} beside the fleet's alert at {minute}"
    check(told[1], promise)

#!/usr/bin/env python3
"""Writes every file below deploy/ that is made from another one: the chart's copies of the rules and dashboards, its
values.yaml and the table of its README, the PrometheusRules of the components, and the patches for CronJobs. Run it after a
change of the rules, of a dashboard, of the chart's schema or of a component's patch; tests/deploy/test_generated.py says so.

    target/tools/python/bin/python deploy/generate.py      (any Python with PyYAML will do)
"""

import json
import re
import textwrap
from pathlib import Path

import yaml

DEPLOY = Path(__file__).resolve().parent
CHART = DEPLOY / "helm" / "imds-exporter"
COMPONENTS = DEPLOY / "kubernetes" / "components"
RULES = [DEPLOY / "prometheus" / "imds-alerts.yaml", DEPLOY / "prometheus" / "imds-kubernetes.yaml"]
# Of programs, not of exporters: not in the chart.
BOTO3_RULES = DEPLOY / "prometheus" / "imds-boto3.yaml"
THRESHOLDS = DEPLOY.parent / "src" / "runbook" / "thresholds.json"
DASHBOARDS = [DEPLOY.parent / "dashboards" / "imds-fleet.json", DEPLOY.parent / "dashboards" / "imds-instance.json"]
VALUES, README, SCHEMA = CHART / "values.yaml", CHART / "README.md", CHART / "values.schema.json"


def generated():
    """The text of each generated file, by its path."""
    return {
        **{rules: with_table(rules) for rules in [*RULES, BOTO3_RULES]},
        **{CHART / "files" / rules.name: with_table(rules) for rules in RULES},
        **{CHART / "files" / source.name: source.read_text() for source in [THRESHOLDS, *DASHBOARDS]},
        VALUES: values_yaml(),
        README: readme(),
        CHART / "templates" / "_null.tpl": null_template(),
        COMPONENTS / "prometheusrule" / "prometheusrule.yaml": prometheus_rule("imds-exporter", RULES[0]),
        COMPONENTS / "prometheusrule-kubernetes" / "prometheusrule.yaml": prometheus_rule("imds-exporter-kubernetes", RULES[1]),
        **{COMPONENTS / name / "cronjob.yaml": cronjob(COMPONENTS / name / f"{name}.yaml") for name in ("sidecar", "wait")},
        DEPLOY / "kubernetes" / "examples" / "deployment" / "liveness.yaml": example_probe(),
        DEPLOY / "kubernetes" / "admission" / "policies.yaml": policies(),
        DEPLOY / "kubernetes" / "paste.yaml": paste(),
    }


def with_table(rules):
    """A rule file with the table of the thresholds of its alerts at its head."""
    text = rules.read_text()
    defined = re.findall(r"^      - alert: (\S+)$", text, re.MULTILINE)
    rows = [("alert", "severity", "limit", "for", "why")] + [
        (alert, severity, row.get("limit", "-"), row.get("for", "-"), row["why"])
        for alert, severities in json.loads(THRESHOLDS.read_text()).items() if alert in defined
        for severity, row in severities.items()]
    table = "".join(f"#   {alert:33} {severity:9} {limit:8} {wait:4} {why}\n" for alert, severity, limit, wait, why in rows)
    head, _, rest = re.split(r"^((?:#   alert .*\n)(?:#   Imds.*\n)*|# table\n)", text, maxsplit=1, flags=re.MULTILINE)
    return head + table + rest


def prometheus_rule(name, rules):
    """A rule file as an object of the Prometheus operator."""
    text = with_table(rules)
    groups = text[text.index("\ngroups:\n") + 1 :]
    head = f"""\
# Made from deploy/prometheus/{rules.name}, where the thresholds are explained, by deploy/generate.py.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: {name}
  labels:
    app.kubernetes.io/name: imds-exporter
spec:
"""
    return head + _indented(groups, 2)


def cronjob(patch):
    """A patch of a pod template as a patch of a CronJob."""
    head, template = patch.read_text().split("spec:\n", 1)
    comment = head.splitlines()[0]
    return f"""\
{comment}
# For a CronJob: made from {patch.name} by deploy/generate.py.
apiVersion: batch/v1
kind: CronJob
metadata:
  name: any
spec:
  jobTemplate:
    spec:
""" + _indented(template, 4)


def example_probe():
    """The probe for the example's container."""
    text = (COMPONENTS / "restart-stuck" / "liveness.yaml").read_text()
    head = "# Made from ../../components/restart-stuck/liveness.yaml by deploy/generate.py.\n"
    return head + text[text.index("apiVersion:") :].replace("YOUR_CONTAINER", "worker")


def _template(name):
    """The patch of a component: of a pod template."""
    return yaml.safe_load((COMPONENTS / name / f"{name}.yaml").read_text())["spec"]["template"]


def _version():
    return yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]


def policies():
    """The components as admission policies, whose expressions (CEL) make the same containers."""
    probe = yaml.safe_load((COMPONENTS / "restart-stuck" / "liveness.yaml").read_text())
    (container,) = probe["spec"]["template"]["spec"]["containers"]
    del container["livenessProbe"]["$patch"]
    watch = yaml.safe_load((COMPONENTS / "restart-stuck" / "watch.yaml").read_text())
    (watching,) = watch["spec"]["template"]["spec"]["initContainers"]
    restart = f"""\
variables.probed == "" ? [] : [
  JSONPatch{{op: "add", path: "/spec/shareProcessNamespace", value: true}},
  JSONPatch{{
    op: "add", path: "/spec/initContainers/0/env/-",
    value: {_cel(watching["env"][0], "Object.spec.initContainers.env", 4)}
  }},
  JSONPatch{{
    op: "add",
    // Without such a container, the path does not exist, and the pod is refused.
    path: "/spec/containers/" + (object.spec.containers.exists(c, c.name == variables.probed)
      ? string(object.spec.containers.map(c, c.name).indexOf(variables.probed))
      : "no-container-" + variables.probed) + "/livenessProbe",
    value: {_cel(container["livenessProbe"], "Object.spec.containers.livenessProbe", 4)}
  }}
]
"""
    head = (DEPLOY / "kubernetes" / "admission" / "head.txt").read_text()
    return head + _policy("sidecar", _template("sidecar"), [restart]) + _policy("wait", _template("wait"), [])


def _policy(value, template, more):
    (container,), volumes = template["spec"]["initContainers"], template["spec"]["volumes"]
    sidecar = f"""\
(has(object.spec.initContainers) ? [] : [JSONPatch{{op: "add", path: "/spec/initContainers", value: []}}]) +
(has(object.spec.volumes) ? [] : [JSONPatch{{op: "add", path: "/spec/volumes", value: []}}]) +
[
  JSONPatch{{
    op: "add", path: "/spec/initContainers/0",
    value: {_cel({**container, "image": None}, "Object.spec.initContainers", 4)}
  }},
""" + ",\n".join(
        f"""\
  JSONPatch{{
    op: "add", path: "/spec/volumes/-",
    value: {_cel(volume, "Object.spec.volumes", 4)}
  }}""" for volume in volumes) + "\n]\n"
    mutations = "".join(
        "    - patchType: JSONPatch\n      jsonPatch:\n        expression: |\n" + _indented(expression, 10)
        for expression in [sidecar, *more])
    name = container["name"]
    return f"""\
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata:
  name: imds-exporter-{value}
spec:
  failurePolicy: Fail
  reinvocationPolicy: Never
  matchConstraints:
    objectSelector:
      matchLabels:
        imds-exporter: {value}
    resourceRules:
      - apiGroups: [""]
        apiVersions: [v1]
        operations: [CREATE]
        resources: [pods]
  matchConditions:
    - name: not-there-already
      expression: '!has(object.spec.initContainers) || object.spec.initContainers.all(c, c.name != "{name}")'
  variables:
    - name: image
      expression: '"imds-exporter:{_version()}"'
    - name: probed
      expression: 'object.metadata.?annotations[?"imds-exporter/restart-stuck"].orValue("")'
  mutations:
{mutations}---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata:
  name: imds-exporter-{value}
spec:
  policyName: imds-exporter-{value}
"""


def _cel(value, kind, indent):
    """A value of a manifest as an expression. `kind` is the type of an object; the value None stands for the image."""
    inner = " " * (indent + 2)
    if value is None:
        return "variables.image"
    if isinstance(value, list):
        return "[" + ", ".join(_cel(each, kind, indent) for each in value) + "]"
    if isinstance(value, dict):
        if kind.rsplit(".", 1)[-1] in ("requests", "limits"):
            return json.dumps(value)
        fields = [f"{inner}{name}: {_cel(each, f'{kind}.{name}', indent + 2)}" for name, each in value.items()]
        return f"{kind}{{\n" + ",\n".join(fields) + "\n" + " " * indent + "}"
    return json.dumps(value)


def paste():
    """The sidecar as values of another chart, with the comments of the component."""
    text = (COMPONENTS / "sidecar" / "sidecar.yaml").read_text()
    image = f"YOUR_REGISTRY/imds-exporter:{_version()}"
    containers = text[text.index("      initContainers:\n") : text.index("      # In memory")]
    volumes = text[text.index("      # In memory") :]
    head = """\
# The sidecar for a workload of somebody else's Helm chart: paste it into that chart's values, under the names that the chart
# has for labels of pods, init containers and volumes, and replace YOUR_REGISTRY. The sidecar must be the first init container.
#
# Made from components/sidecar/sidecar.yaml by deploy/generate.py.
podLabels:
  imds-exporter: sidecar
"""
    pasted = textwrap.dedent(containers + volumes).replace("image: imds-exporter\n", f"image: {image}\n")
    return head + pasted.replace("volumes:\n", "extraVolumes:\n")


def _indented(text, spaces):
    return textwrap.indent(text, " " * spaces, lambda line: line.strip())


# The chart's values, their defaults and what they mean stand in its schema alone.

def schema():
    return json.loads(SCHEMA.read_text())


def is_group(value):
    """Whether a value is a group of values, which have their own defaults."""
    return "default" not in value


def leaves(values, path=()):
    """(path, schema) of every value that is not a group."""
    for name, value in values["properties"].items():
        if is_group(value):
            yield from leaves(value, (*path, name))
        else:
            yield (*path, name), value


def values_yaml():
    head = "# All values with their defaults, made from values.schema.json, which rejects unknown and wrong values.\n"
    return head + "\n".join(_value_lines(schema())) + "\n"


def _value_lines(values, indent=""):
    for name, value in values["properties"].items():
        if not indent:
            yield ""
        yield textwrap.fill(value["description"], 110, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ",
                            break_long_words=False, break_on_hyphens=False)
        if is_group(value):
            yield f"{indent}{name}:"
            yield from _value_lines(value, indent + "  ")
        else:
            text = yaml.safe_dump({name: value["default"]}, sort_keys=False, default_flow_style=False, width=1000)
            # As people write an empty text.
            yield textwrap.indent(text.replace(": ''\n", ': ""\n').rstrip(), indent)


def null_template():
    values = json.dumps(_null(schema()), indent=2)
    return f"""\
{{{{/* What a value is that is `null`: made from values.schema.json. */}}}}
{{{{- define "imds-exporter.null" -}}}}
{values}
{{{{- end -}}}}
"""


def _null(values):
    """A list or a map becomes empty, everything else gets its default."""
    if not is_group(values):
        default = values["default"]
        return type(default)() if isinstance(default, (list, dict)) else default
    return {name: _null(value) for name, value in values["properties"].items()}


def readme():
    rows = ["| value | default | meaning |", "| --- | --- | --- |"]
    for path, value in leaves(schema()):
        default = json.dumps(value["default"], separators=(", ", ": "))
        meaning = value["description"].replace("|", "\\|")
        rows.append(f"| `{'.'.join(path)}` | `{default}` | {meaning} |")
    table = re.compile(r"(?<=<!-- generated: values -->\n).*?(?=<!-- end -->)", re.S)
    text, count = table.subn(lambda _: "\n".join(rows) + "\n", README.read_text())
    assert count == 1, f"{README} has no place for the table of values"
    return text


if __name__ == "__main__":
    for path, text in generated().items():
        if not path.is_file() or path.read_text() != text:
            path.write_text(text)
            print(path.relative_to(DEPLOY.parent))

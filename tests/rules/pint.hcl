# What pint asks beyond its own checks.
rule {
  match { kind = "alerting" }

  label "severity" {
    severity = "bug"
    value    = "critical|warning|info"
    required = true
  }
  annotation "summary" {
    severity = "bug"
    required = true
  }
  annotation "description" {
    severity = "bug"
    required = true
  }
  annotation "runbook_url" {
    severity = "bug"
    required = true
  }
  name "Imds[A-Z][A-Za-z0-9]+" {
    severity = "bug"
  }
}

rule {
  match { kind = "recording" }

  name "imds:.+:.+" {
    severity = "bug"
  }
}

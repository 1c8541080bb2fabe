package main

import (
	"fmt"
	"strings"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
)

// renderRequest asks for a chart with many sets of values, as `helm template` renders each.
type renderRequest struct {
	Chart       string
	Release     string
	Namespace   string
	KubeVersion string
	Cases       []struct {
		Values      map[string]any
		APIVersions []string
	}
}

// rendered is one chart's manifest with its hooks, or why Helm refuses the values.
type rendered struct {
	Manifest string `json:"manifest"`
	Notes    string `json:"notes"`
	Error    string `json:"error"`
}

func render(request renderRequest) ([]rendered, error) {
	version, err := chartutil.ParseKubeVersion(request.KubeVersion)
	if err != nil {
		return nil, err
	}
	answer := []rendered{}
	for _, one := range request.Cases {
		// Rendering changes the chart.
		chart, err := loader.Load(request.Chart)
		if err != nil {
			return nil, err
		}
		install := action.NewInstall(&action.Configuration{Log: func(string, ...any) {}})
		install.ReleaseName, install.Namespace = request.Release, request.Namespace
		install.DryRun, install.ClientOnly, install.Replace = true, true, true
		install.KubeVersion, install.APIVersions = version, one.APIVersions
		if one.Values == nil {
			one.Values = map[string]any{}
		}
		release, err := install.Run(chart, one.Values)
		if err != nil {
			answer = append(answer, rendered{Error: err.Error()})
			continue
		}
		var manifest strings.Builder
		manifest.WriteString(release.Manifest)
		for _, hook := range release.Hooks {
			fmt.Fprintf(&manifest, "---\n%s\n", hook.Manifest)
		}
		answer = append(answer, rendered{Manifest: manifest.String(), Notes: release.Info.Notes})
	}
	return answer, nil
}

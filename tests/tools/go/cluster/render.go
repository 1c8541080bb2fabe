package main

import (
	"fmt"
	"io"
	"log"
	"runtime"
	"strings"
	"sync"

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
	// Helm logs each symbolic link in a chart.
	log.SetOutput(io.Discard)
	version, err := chartutil.ParseKubeVersion(request.KubeVersion)
	if err != nil {
		return nil, err
	}
	answer := make([]rendered, len(request.Cases))
	next := make(chan int)
	var workers sync.WaitGroup
	for range runtime.NumCPU() {
		workers.Go(func() {
			for number := range next {
				answer[number] = renderOne(request, version, number)
			}
		})
	}
	for number := range request.Cases {
		next <- number
	}
	close(next)
	workers.Wait()
	return answer, nil
}

func renderOne(request renderRequest, version *chartutil.KubeVersion, number int) rendered {
	values := request.Cases[number].Values
	if values == nil {
		values = map[string]any{}
	}
	// Rendering changes the chart.
	chart, err := loader.Load(request.Chart)
	if err != nil {
		return rendered{Error: err.Error()}
	}
	install := action.NewInstall(&action.Configuration{Log: func(string, ...any) {}})
	install.ReleaseName, install.Namespace = request.Release, request.Namespace
	install.DryRun, install.ClientOnly, install.Replace = true, true, true
	install.KubeVersion, install.APIVersions = version, request.Cases[number].APIVersions
	release, err := install.Run(chart, values)
	if err != nil {
		return rendered{Error: err.Error()}
	}
	var manifest strings.Builder
	manifest.WriteString(release.Manifest)
	for _, hook := range release.Hooks {
		fmt.Fprintf(&manifest, "---\n%s\n", hook.Manifest)
	}
	return rendered{Manifest: manifest.String(), Notes: release.Info.Notes}
}

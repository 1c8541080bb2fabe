// Prints the exposition of kube-state-metrics, by its own code, for the pods that are given on the standard input as a JSON
// PodList. Nothing is reached over the network: the API server is client-go's fake.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/kube-state-metrics/v2/pkg/allowdenylist"
	"k8s.io/kube-state-metrics/v2/pkg/builder"
	"k8s.io/kube-state-metrics/v2/pkg/options"
)

func main() {
	var pods corev1.PodList
	must(json.NewDecoder(os.Stdin).Decode(&pods))
	client := fake.NewSimpleClientset(&pods)

	everything, err := allowdenylist.New(nil, nil)
	must(err)
	must(everything.Parse())
	ctx, stop := context.WithCancel(context.Background())
	defer stop()

	build := builder.NewBuilder()
	build.WithMetrics(prometheus.NewRegistry())
	must(build.WithEnabledResources([]string{"pods"}))
	build.WithKubeClient(client)
	build.WithContext(ctx)
	build.WithNamespaces(options.DefaultNamespaces)
	build.WithSharding(0, 1)
	build.WithFamilyGeneratorFilter(everything)
	// As `--metric-labels-allowlist=pods=[...]` sets it.
	must(build.WithAllowLabels(map[string][]string{"pods": os.Args[1:]}))
	build.WithGenerateStoresFunc(build.DefaultGenerateStoresFunc())
	writers := build.Build()

	var out bytes.Buffer
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		out.Reset()
		for _, writer := range writers {
			must(writer.WriteAll(&out))
		}
		if strings.Count(out.String(), "\nkube_pod_info{") == len(pods.Items) {
			fmt.Print(out.String())
			return
		}
	}
	fmt.Fprintln(os.Stderr, "the pods were not listed in time")
	os.Exit(1)
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

package main

import (
	"fmt"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/controller/daemon"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// admit tells what Pod Security finds in each pod at a level: nothing where it admits the pod.
func admit(request struct {
	Level string
	Pods  []core.Pod
}) ([]string, error) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		return nil, err
	}
	level, err := api.ParseLevel(request.Level)
	if err != nil {
		return nil, err
	}
	answer := []string{}
	for _, pod := range request.Pods {
		results := evaluator.EvaluatePod(api.LevelVersion{Level: level, Version: api.LatestVersion()}, &pod.ObjectMeta, &pod.Spec)
		result := policy.AggregateCheckResults(results)
		if result.Allowed {
			answer = append(answer, "")
		} else {
			answer = append(answer, result.ForbiddenDetail())
		}
	}
	return answer, nil
}

// place tells for each DaemonSet the nodes on which its controller runs a pod.
func place(request struct {
	DaemonSets []apps.DaemonSet
	Nodes      []core.Node
}) ([][]string, error) {
	answer := [][]string{}
	for _, set := range request.DaemonSets {
		names := []string{}
		for _, node := range request.Nodes {
			if node.Name == "" {
				return nil, fmt.Errorf("a node without a name")
			}
			if run, _ := daemon.NodeShouldRunDaemonPod(klog.Background(), &node, &set); run {
				names = append(names, node.Name)
			}
		}
		answer = append(answer, names)
	}
	return answer, nil
}

package main

import (
	"context"
	"fmt"
	"time"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/testing"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/controller/daemon"
)

// adoptRequest is a DaemonSet, its node, and a pod that something else has made there.
type adoptRequest struct {
	DaemonSet apps.DaemonSet
	Node      core.Node
	Pod       core.Pod
}

// adopted is what the controller of DaemonSets did to the pod.
type adopted struct {
	// The controller has set itself as its owner.
	Adopted bool `json:"adopted"`
	// It has deleted the pod.
	Deleted bool `json:"deleted"`
	// How many pods of its own the controller has made.
	Created int `json:"created"`
}

func adopt(requests []adoptRequest) ([]adopted, error) {
	answer := []adopted{}
	for _, request := range requests {
		one, err := adoptOne(request)
		if err != nil {
			return nil, err
		}
		answer = append(answer, one)
	}
	return answer, nil
}

func adoptOne(request adoptRequest) (adopted, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	set, pod := &request.DaemonSet, &request.Pod
	// As the API server completes what it takes.
	legacyscheme.Scheme.Default(set)
	legacyscheme.Scheme.Default(pod)
	set.UID, pod.UID, request.Node.UID = "set", "pod", "node"
	client := fake.NewClientset(set, &request.Node, pod)
	// As the API server names pods.
	made := 0
	client.PrependReactor("create", "pods", func(action testing.Action) (bool, runtime.Object, error) {
		made++
		action.(testing.CreateAction).GetObject().(*core.Pod).Name = fmt.Sprintf("made-%d", made)
		return false, nil, nil
	})
	factory := informers.NewSharedInformerFactory(client, 0)
	controller, err := daemon.NewDaemonSetsController(
		ctx, factory.Apps().V1().DaemonSets(), factory.Apps().V1().ControllerRevisions(), factory.Core().V1().Pods(),
		factory.Core().V1().Nodes(), client, flowcontrol.NewBackOff(time.Millisecond, time.Millisecond))
	if err != nil {
		return adopted{}, err
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	go controller.Run(ctx, 1)

	// It has done its work when its status says that the node has its pod.
	settled := func(ctx context.Context) (bool, error) {
		now, err := client.AppsV1().DaemonSets(set.Namespace).Get(ctx, set.Name, meta.GetOptions{})
		return err == nil && now.Status.CurrentNumberScheduled == 1, err
	}
	if err := wait.PollUntilContextTimeout(ctx, 5*time.Millisecond, time.Minute, true, settled); err != nil {
		return adopted{}, fmt.Errorf("the controller has not settled: %w", err)
	}
	answer := adopted{}
	for _, action := range client.Actions() {
		if action.GetResource().Resource != "pods" {
			continue
		}
		switch action := action.(type) {
		case testing.CreateAction:
			if action.GetVerb() == "create" {
				answer.Created++
			}
		case testing.DeleteAction:
			answer.Deleted = answer.Deleted || action.GetName() == pod.Name
		case testing.PatchAction:
			answer.Adopted = answer.Adopted || action.GetName() == pod.Name
		}
	}
	return answer, nil
}

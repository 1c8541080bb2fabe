package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	admissionregistration "k8s.io/api/admissionregistration/v1"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	v1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/client-go/discovery"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/openapi"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	kubecore "k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
)

// mutateRequest has the objects of MutatingAdmissionPolicies with their bindings, and pods to create.
type mutateRequest struct {
	Policies []json.RawMessage
	Pods     []core.Pod
}

// mutated is a pod as the API server stores it, or why it refuses the pod.
type mutated struct {
	Pod   *core.Pod `json:"pod"`
	Error string    `json:"error"`
}

// mutate runs the API server's own admission plugin.
func mutate(request mutateRequest) ([]mutated, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	objects := []runtime.Object{&core.Namespace{ObjectMeta: v1.ObjectMeta{Name: "default"}}}
	for _, raw := range request.Policies {
		object, _, err := scheme.Codecs.UniversalDeserializer().Decode(raw, nil, nil)
		if err != nil {
			return nil, err
		}
		// As the API server completes what it takes.
		if policy, ok := object.(*admissionregistration.MutatingAdmissionPolicy); ok {
			equivalent := admissionregistration.Equivalent
			policy.Spec.MatchConstraints.MatchPolicy = &equivalent
			policy.Spec.MatchConstraints.NamespaceSelector = &v1.LabelSelector{}
		}
		objects = append(objects, object)
	}
	plugin, err := mutating.NewPlugin(nil)
	if err != nil {
		return nil, err
	}
	client := withSchemas{fake.NewClientset(objects...)}
	factory := informers.NewSharedInformerFactory(client, 0)
	plugin.SetExternalKubeClientSet(client)
	plugin.SetExternalKubeInformerFactory(factory)
	plugin.SetDynamicClient(dynamicfake.NewSimpleDynamicClient(scheme.Scheme))
	plugin.SetRESTMapper(meta.NewDefaultRESTMapper(nil))
	plugin.SetUnconditionalAuthorizer(authorizerfactory.NewAlwaysAllowAuthorizer())
	plugin.SetDrainedNotification(ctx.Done())
	plugin.SetEnabled(true)
	if err := plugin.ValidateInitialization(); err != nil {
		return nil, err
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	if !plugin.WaitForReady() {
		return nil, fmt.Errorf("the plugin is not ready")
	}
	answer := []mutated{}
	for _, pod := range request.Pods {
		answer = append(answer, mutateOne(ctx, plugin, pod))
	}
	return answer, nil
}

func mutateOne(ctx context.Context, plugin *mutating.Plugin, pod core.Pod) mutated {
	internal := &kubecore.Pod{}
	if err := legacyscheme.Scheme.Convert(&pod, internal, nil); err != nil {
		return mutated{Error: err.Error()}
	}
	attributes := admission.NewAttributesRecord(
		internal, nil, core.SchemeGroupVersion.WithKind("Pod"), "default", pod.Name, core.SchemeGroupVersion.WithResource("pods"), "",
		admission.Create, &v1.CreateOptions{}, false, &user.DefaultInfo{Name: "user"})
	interfaces := admission.NewObjectInterfacesFromScheme(legacyscheme.Scheme)
	// Until the plugin has read the schemas, it answers that it cannot serve.
	err := wait.PollUntilContextTimeout(ctx, 5*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		err := plugin.Admit(ctx, attributes, interfaces)
		if apierrors.IsServiceUnavailable(err) {
			return false, nil
		}
		return true, err
	})
	if err != nil {
		return mutated{Error: err.Error()}
	}
	stored := &core.Pod{}
	if err := legacyscheme.Scheme.Convert(attributes.GetObject(), stored, nil); err != nil {
		return mutated{Error: err.Error()}
	}
	return mutated{Pod: stored}
}

// withSchemas is a cluster that says of its schemas that there are some: a JSON patch needs no more.
type withSchemas struct{ *fake.Clientset }

func (c withSchemas) Discovery() discovery.DiscoveryInterfaces {
	return schemas{c.Clientset.Discovery()}
}

type schemas struct{ discovery.DiscoveryInterfaces }

func (s schemas) OpenAPIV3() openapi.Client { return s }

func (s schemas) Paths() (map[string]openapi.GroupVersion, error) {
	return map[string]openapi.GroupVersion{"api/v1": empty{}}, nil
}

type empty struct{}

func (empty) Schema(string) ([]byte, error) {
	return []byte(`{"openapi": "3.0.0", "components": {"schemas": {}}}`), nil
}

func (empty) ServerRelativeURL() string { return "/openapi/v3/api/v1" }

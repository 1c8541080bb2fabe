package main

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/apis/apps"
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	appsvalidation "k8s.io/kubernetes/pkg/apis/apps/validation"
	"k8s.io/kubernetes/pkg/apis/batch"
	_ "k8s.io/kubernetes/pkg/apis/batch/install"
	batchvalidation "k8s.io/kubernetes/pkg/apis/batch/validation"
	"k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/apis/networking"
	_ "k8s.io/kubernetes/pkg/apis/networking/install"
	networkingvalidation "k8s.io/kubernetes/pkg/apis/networking/validation"
	"k8s.io/kubernetes/pkg/capabilities"
)

// validate tells for each object, an API's JSON, what the API server would find wrong with it: nothing where it takes it.
func validate(objects []runtime.RawExtension) ([]string, error) {
	// As every managed cluster does: the policies decide.
	capabilities.Setup(true, 0)
	codecs := serializer.NewCodecFactory(legacyscheme.Scheme, serializer.EnableStrict)
	answer := []string{}
	for _, raw := range objects {
		object, _, err := codecs.UniversalDecoder().Decode(raw.Raw, nil, nil)
		if err != nil {
			answer = append(answer, err.Error())
			continue
		}
		mistakes, err := mistakesIn(object)
		if err != nil {
			return nil, err
		}
		text := ""
		if aggregate := mistakes.ToAggregate(); aggregate != nil {
			text = aggregate.Error()
		}
		answer = append(answer, text)
	}
	return answer, nil
}

func mistakesIn(object runtime.Object) (field.ErrorList, error) {
	options := corevalidation.PodValidationOptions{}
	switch object := object.(type) {
	case *apps.DaemonSet:
		return appsvalidation.ValidateDaemonSet(object, options), nil
	case *apps.Deployment:
		return appsvalidation.ValidateDeployment(object, options), nil
	case *apps.StatefulSet:
		return appsvalidation.ValidateStatefulSet(object, appsvalidation.StatefulSetValidationOptions{}, options), nil
	case *batch.Job:
		// The API server itself completes a Job's selector: the rest of it is the template.
		return corevalidation.ValidatePodTemplateSpec(&object.Spec.Template, field.NewPath("spec", "template"), options), nil
	case *batch.CronJob:
		return batchvalidation.ValidateCronJobCreate(object, options), nil
	case *core.Pod:
		return corevalidation.ValidatePodCreate(object, options), nil
	case *core.Service:
		// The API server completes this before it validates.
		if object.Spec.ClusterIP != "" {
			object.Spec.ClusterIPs = []string{object.Spec.ClusterIP}
		}
		return corevalidation.ValidateServiceCreate(object), nil
	case *core.ServiceAccount:
		return corevalidation.ValidateServiceAccount(object), nil
	case *core.ConfigMap:
		return corevalidation.ValidateConfigMap(object), nil
	case *core.Secret:
		return corevalidation.ValidateSecret(object), nil
	case *core.Namespace:
		return corevalidation.ValidateNamespace(object), nil
	case *networking.NetworkPolicy:
		return networkingvalidation.ValidateNetworkPolicy(object, networkingvalidation.NetworkPolicyValidationOptions{}), nil
	}
	return nil, fmt.Errorf("%T is not validated", object)
}

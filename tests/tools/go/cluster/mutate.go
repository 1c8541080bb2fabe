package main

import (
	"context"
	"encoding/json"

	"github.com/google/cel-go/cel"
	admissionregistration "k8s.io/api/admissionregistration/v1"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/admission"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating/patch"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/predicates/rules"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
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

// mutate does what the API server's admission plugin does, with its parts: the plugin itself wants the clients of a cluster, which
// take a quarter of the time to build all programs of this module. A policy is not invoked again after another has changed the pod.
func mutate(request mutateRequest) ([]mutated, error) {
	decoder := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	policies, bound := []admissionPolicy{}, map[string]bool{}
	for _, raw := range request.Policies {
		object, _, err := decoder.Decode(raw, nil, nil)
		if err != nil {
			return nil, err
		}
		switch object := object.(type) {
		case *admissionregistration.MutatingAdmissionPolicyBinding:
			bound[object.Spec.PolicyName] = true
		case *admissionregistration.MutatingAdmissionPolicy:
			compiled, err := compile(object)
			if err != nil {
				return nil, err
			}
			policies = append(policies, compiled)
		}
	}
	answer := []mutated{}
	for _, pod := range request.Pods {
		stored, err := &pod, error(nil)
		for _, policy := range policies {
			// Without a binding a policy does nothing.
			if bound[policy.Name] && err == nil {
				stored, err = policy.apply(stored)
			}
		}
		if err != nil {
			answer = append(answer, mutated{Error: err.Error()})
		} else {
			answer = append(answer, mutated{Pod: stored})
		}
	}
	return answer, nil
}

// admissionPolicy is a policy, compiled as one that is created now.
type admissionPolicy struct {
	*admissionregistration.MutatingAdmissionPolicy
	selector   labels.Selector
	compiler   *plugincel.CompositedCompiler
	conditions matchconditions.Matcher
	patchers   []patch.Patcher
}

// variable is one of a policy.
type variable admissionregistration.Variable

func (v variable) GetName() string          { return v.Name }
func (v variable) GetExpression() string    { return v.Expression }
func (v variable) ReturnTypes() []*cel.Type { return []*cel.Type{cel.AnyType, cel.DynType} }

func compile(object *admissionregistration.MutatingAdmissionPolicy) (admissionPolicy, error) {
	selector, err := meta.LabelSelectorAsSelector(object.Spec.MatchConstraints.ObjectSelector)
	if err != nil {
		return admissionPolicy{}, err
	}
	compiler, err := plugincel.NewCompositedCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()))
	if err != nil {
		return admissionPolicy{}, err
	}
	variables, conditions := []plugincel.NamedExpressionAccessor{}, []plugincel.ExpressionAccessor{}
	for _, one := range object.Spec.Variables {
		variables = append(variables, variable(one))
	}
	for _, one := range object.Spec.MatchConditions {
		conditions = append(conditions, (*matchconditions.MatchCondition)(&one))
	}
	options := plugincel.OptionalVariableDeclarations{}
	compiler.CompileAndStoreVariables(variables, options, environment.NewExpressions)
	matcher := matchconditions.NewMatcher(
		compiler.CompileCondition(conditions, options, environment.NewExpressions), object.Spec.FailurePolicy, "policy", "mutate", object.Name)
	patchers := []patch.Patcher{}
	options.HasPatchTypes = true
	for _, mutation := range object.Spec.Mutations {
		condition := &patch.JSONPatchCondition{Expression: mutation.JSONPatch.Expression}
		patchers = append(patchers, patch.NewJSONPatcher(compiler.CompileMutatingEvaluator(condition, options, environment.NewExpressions)))
	}
	return admissionPolicy{object, selector, compiler, matcher, patchers}, nil
}

// apply returns the pod with what the policy does to it.
func (p admissionPolicy) apply(pod *core.Pod) (*core.Pod, error) {
	kind, resource := core.SchemeGroupVersion.WithKind("Pod"), core.SchemeGroupVersion.WithResource("pods")
	attributes := admission.NewAttributesRecord(
		pod, nil, kind, "default", pod.Name, resource, "", admission.Create, &meta.CreateOptions{}, false, &user.DefaultInfo{Name: "user"})
	if !p.selector.Matches(labels.Set(pod.Labels)) || !p.matchesARule(attributes) {
		return pod, nil
	}
	interfaces := admission.NewObjectInterfacesFromScheme(legacyscheme.Scheme)
	versioned, err := admission.NewVersionedAttributes(attributes, kind, interfaces)
	if err != nil {
		return nil, err
	}
	ctx := p.compiler.CreateContext(context.Background())
	if matched := p.conditions.Match(ctx, versioned, nil, nil); matched.Error != nil || !matched.Matches {
		return pod, matched.Error
	}
	for _, patcher := range p.patchers {
		patched, err := patcher.Patch(ctx, patch.Request{
			MatchedResource: resource, VersionedAttributes: versioned, ObjectInterfaces: interfaces,
			Namespace: &core.Namespace{ObjectMeta: meta.ObjectMeta{Name: "default"}},
		}, celconfig.RuntimeCELCostBudget)
		if err != nil {
			return nil, err
		}
		interfaces.GetObjectDefaulter().Default(patched)
		versioned.UpdateObject(patched)
	}
	return versioned.VersionedObject.Object().(*core.Pod), nil
}

func (p admissionPolicy) matchesARule(attributes admission.Attributes) bool {
	for _, rule := range p.Spec.MatchConstraints.ResourceRules {
		if (&rules.Matcher{Rule: rule.RuleWithOperations, Attr: attributes}).Matches() {
			return true
		}
	}
	return false
}

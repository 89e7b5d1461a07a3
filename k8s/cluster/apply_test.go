//go:build cluster

package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

// restricted is a namespace in which Pod Security refuses what is not "restricted".
const restricted = "restricted"

// TestCluster gives a real API server all that k8s/ ships, and then mistakes.
func TestCluster(t *testing.T) {
	ctx := t.Context()
	// No controller makes the default service accounts that this admission waits for.
	cp := startControlPlane(t, t.TempDir(), "192.0.2.1", "--disable-admission-plugins=ServiceAccount")
	cp.define(t)
	if err := cp.ensureNamespace(ctx, restricted, map[string]string{"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/enforce-version": "latest"}); err != nil {
		t.Fatal(err)
	}
	all := sources(t)
	pods := 0
	for _, s := range all {
		t.Run("accepts/"+s.name, func(t *testing.T) {
			objects, err := parse(s.text)
			if err != nil {
				t.Fatal(err)
			}
			applied := cp.accept(t, objects)
			for _, o := range objects {
				made, err := podsOf(o)
				if err != nil {
					t.Errorf("%s: %v", describe(o), err)
				}
				for _, pod := range made {
					pods++
					if err := cp.createPod(ctx, pod); err != nil {
						t.Errorf("the pod of %s: %v", describe(o), err)
					}
				}
			}
			t.Logf("%d objects", len(applied))
		})
	}
	if pods < 8 {
		t.Errorf("created %d pods; are all found?", pods)
	}
	t.Run("refuses", func(t *testing.T) { refuses(t, cp, all) })
}

// define gives the server the kinds of Istio, Envoy Gateway, Gateway API, the Prometheus
// operator and cert-manager.
func (cp *controlPlane) define(t *testing.T) {
	t.Helper()
	var all []*unstructured.Unstructured
	for _, d := range projects {
		all = append(all, d.download(t)...)
	}
	for _, crd := range all {
		if err := cp.apply(t.Context(), crd); err != nil {
			t.Fatalf("%s: %v", crd.GetName(), err)
		}
	}
	for _, crd := range all {
		err := eventually(t.Context(), func(ctx context.Context) error {
			client, err := cp.resource(crd)
			if err != nil {
				return err
			}
			got, err := client.Get(ctx, crd.GetName(), metav1.GetOptions{})
			if err != nil {
				return err
			}
			return established(got)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	cp.mapper.Reset()
	cp.warnings.take() // of the definitions, which are not ours
}

// accept applies the objects one after another, as kubectl does, without an error or a warning.
// They are removed at the end of the test, so that the next source begins with nothing.
func (cp *controlPlane) accept(t *testing.T, objects []*unstructured.Unstructured) (applied []*unstructured.Unstructured) {
	t.Helper()
	for _, o := range objects {
		if err := cp.bring(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		if err := cp.apply(t.Context(), o); err != nil {
			t.Errorf("%s: %v", describe(o), err)
			continue
		}
		for _, warning := range cp.warnings.take() {
			if injected(o) && strings.HasPrefix(warning, "would violate PodSecurity") {
				continue // the injection adds what is missing to the pod, and not to its template
			}
			t.Errorf("%s: warning: %s", describe(o), warning)
		}
		if o.GetKind() == "MutatingAdmissionPolicyBinding" {
			if err := cp.awaitInjection(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		applied = append(applied, o)
		if o.GetKind() == "Namespace" {
			continue // nothing here would end its termination
		}
		t.Cleanup(func() {
			// A file may have an object twice: for two namespaces, or as a hook.
			if err := cp.remove(context.WithoutCancel(t.Context()), o); err != nil && !apierrors.IsNotFound(err) {
				t.Errorf("removing %s: %v", describe(o), err)
			}
		})
	}
	return applied
}

// injected reports whether the pods of a workload ask for the injection.
func injected(o *unstructured.Unstructured) bool {
	label, _, err := unstructured.NestedString(o.Object, "spec", "template", "metadata", "labels", injectLabel)
	return err == nil && label == "true"
}

// bring makes the namespace of an object, which users have already.
func (cp *controlPlane) bring(ctx context.Context, o *unstructured.Unstructured) error {
	namespace := o.GetNamespace()
	if namespace == "" {
		return nil
	}
	_, err := cp.kube.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return cp.ensureNamespace(ctx, namespace, nil)
	}
	return err
}

// createPod creates a pod in the namespace restricted and removes it. A warning is an error.
func (cp *controlPlane) createPod(ctx context.Context, pod *corev1.Pod) error {
	pod = pod.DeepCopy()
	pod.Namespace, pod.Name, pod.GenerateName = restricted, "", "pod-"
	pods := cp.kube.CoreV1().Pods(restricted)
	made, err := pods.Create(ctx, pod, metav1.CreateOptions{FieldManager: fieldManager, FieldValidation: metav1.FieldValidationStrict})
	if err != nil {
		return err
	}
	if err := problems(cp.warnings.take()); err != nil {
		return fmt.Errorf("warning: %w", err)
	}
	now := int64(0)
	return pods.Delete(ctx, made.Name, metav1.DeleteOptions{GracePeriodSeconds: &now})
}

// podsOf returns the pods that an object makes.
func podsOf(o *unstructured.Unstructured) ([]*corev1.Pod, error) {
	path := []string{"spec", "template"}
	switch o.GetKind() {
	case "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job":
	case "CronJob":
		path = []string{"spec", "jobTemplate", "spec", "template"}
	case "Pod":
		path = nil
	case "EnvoyProxy":
		patch, ok, err := unstructured.NestedMap(o.Object, "spec", "provider", "kubernetes", "envoyDeployment", "patch", "value", "spec", "template")
		if err != nil || !ok {
			return nil, err // without a patch it makes no pod of ours
		}
		pod, err := patched(patch)
		return []*corev1.Pod{pod}, err
	default:
		return nil, nil
	}
	template, _, err := unstructured.NestedMap(o.Object, path...)
	if err != nil {
		return nil, err
	}
	pod := &corev1.Pod{}
	err = convert(template, pod)
	return []*corev1.Pod{pod}, err
}

// patched returns the pod of Envoy Gateway with the patch of an EnvoyProxy.
func patched(patch map[string]any) (*corev1.Pod, error) {
	no := false
	gateway := corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{
		Name: "envoy", Image: "envoyproxy/envoy:distroless-v1.40.0",
		SecurityContext: &corev1.SecurityContext{AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}},
	}}}}
	before, err := json.Marshal(gateway)
	if err != nil {
		return nil, err
	}
	change, err := json.Marshal(patch)
	if err != nil {
		return nil, err
	}
	after, err := strategicpatch.StrategicMergePatch(before, change, gateway)
	if err != nil {
		return nil, err
	}
	pod := &corev1.Pod{}
	return pod, json.Unmarshal(after, pod)
}

func convert(from map[string]any, to any) error {
	data, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, to)
}

func describe(o *unstructured.Unstructured) string {
	return strings.Join(slices.DeleteFunc([]string{o.GetKind(), o.GetNamespace(), o.GetName()}, func(s string) bool { return s == "" }), " ")
}

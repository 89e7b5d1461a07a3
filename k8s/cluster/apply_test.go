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
				for _, pod := range podsOf(t, o) {
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
			t.Errorf("%s: warning: %s", describe(o), warning)
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
func podsOf(t testing.TB, o *unstructured.Unstructured) []*corev1.Pod {
	t.Helper()
	template := func(path ...string) []*corev1.Pod {
		part, ok, err := unstructured.NestedMap(o.Object, path...)
		if err != nil || !ok {
			t.Fatalf("%s: no %s: %v", describe(o), strings.Join(path, "."), err)
		}
		pod := &corev1.Pod{}
		convert(t, part, pod)
		return []*corev1.Pod{pod}
	}
	switch o.GetKind() {
	case "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job":
		return template("spec", "template")
	case "CronJob":
		return template("spec", "jobTemplate", "spec", "template")
	case "Pod":
		pod := &corev1.Pod{}
		convert(t, o.Object, pod)
		return []*corev1.Pod{pod}
	case "EnvoyProxy":
		patch, ok, err := unstructured.NestedMap(o.Object, "spec", "provider", "kubernetes", "envoyDeployment", "patch", "value", "spec", "template")
		if err != nil || !ok {
			return nil // it changes no pod
		}
		return []*corev1.Pod{patched(t, patch)}
	}
	return nil
}

// patched returns the pod of Envoy Gateway with the patch of an EnvoyProxy.
func patched(t testing.TB, patch map[string]any) *corev1.Pod {
	t.Helper()
	no := false
	gateway := corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{
		Name: "envoy", Image: "envoyproxy/envoy:distroless-v1.40.0",
		SecurityContext: &corev1.SecurityContext{AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}},
	}}}}
	before, err := json.Marshal(gateway)
	if err != nil {
		t.Fatal(err)
	}
	change, err := json.Marshal(patch)
	if err != nil {
		t.Fatal(err)
	}
	after, err := strategicpatch.StrategicMergePatch(before, change, gateway)
	if err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{}
	if err := json.Unmarshal(after, pod); err != nil {
		t.Fatal(err)
	}
	return pod
}

func convert(t testing.TB, from map[string]any, to any) {
	t.Helper()
	data, err := json.Marshal(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, to); err != nil {
		t.Fatal(err)
	}
}

func describe(o *unstructured.Unstructured) string {
	return strings.Join(slices.DeleteFunc([]string{o.GetKind(), o.GetNamespace(), o.GetName()}, func(s string) bool { return s == "" }), " ")
}

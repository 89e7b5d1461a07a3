//go:build cluster || pod

package cluster

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
)

// fieldManager is the owner of all fields that the tests apply.
const fieldManager = "warder-test"

// A controlPlane is an API server with etcd on loopback.
type controlPlane struct {
	dir      string
	url      string
	config   *rest.Config
	kube     kubernetes.Interface
	dynamic  dynamic.Interface
	mapper   meta.ResettableRESTMapper
	warnings *warnings
}

// warnings collects what the API server warns about, such as deprecated fields.
type warnings struct {
	mu    sync.Mutex
	texts []string
}

// HandleWarningHeader implements [rest.WarningHandler].
func (w *warnings) HandleWarningHeader(code int, _ string, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if code == 299 { // the only one that Kubernetes uses
		w.texts = append(w.texts, text)
	}
}

// take returns the warnings since the last call.
func (w *warnings) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	texts := w.texts
	w.texts = nil
	return texts
}

// startControlPlane starts etcd and the API server, which end with the test. The address is
// what the server announces itself with: it may not be on loopback, and nothing listens there.
func startControlPlane(t testing.TB, dir, address string, flags ...string) *controlPlane {
	t.Helper()
	program := tool(t, "controlplane-*")
	ports := freePorts(t, 3)
	etcd := "http://127.0.0.1:" + ports[0]
	startProcess(t, dir, "etcd", program, "etcd", "--data-dir", filepath.Join(dir, "etcd"), "--client-url", etcd, "--peer-url", "http://127.0.0.1:"+ports[1])

	token := rand.Text()
	writeFile(t, filepath.Join(dir, "tokens.csv"), token+",admin,admin,system:masters\n")
	writeServiceAccountKey(t, dir)
	args := append([]string{
		"kube-apiserver",
		"--etcd-servers=" + etcd,
		"--bind-address=127.0.0.1", "--secure-port=" + ports[2], "--advertise-address=" + address,
		"--cert-dir=" + filepath.Join(dir, "certs"),
		"--service-cluster-ip-range=10.96.0.0/16",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + filepath.Join(dir, "sa.pub"),
		"--service-account-signing-key-file=" + filepath.Join(dir, "sa.key"),
		"--token-auth-file=" + filepath.Join(dir, "tokens.csv"),
		"--authorization-mode=RBAC",
		"--profiling=false",
	}, flags...)
	server := startProcess(t, dir, "kube-apiserver", program, args...)

	cp := &controlPlane{dir: dir, url: "https://127.0.0.1:" + ports[2], warnings: &warnings{}}
	cp.config = &rest.Config{
		Host:        cp.url,
		BearerToken: token,
		// The server writes it at its start; it is its own authority.
		TLSClientConfig: rest.TLSClientConfig{CAFile: filepath.Join(dir, "certs", "apiserver.crt")},
		QPS:             -1, // no limit
		WarningHandler:  cp.warnings,
	}
	server.await(t, func(ctx context.Context) error {
		kube, err := kubernetes.NewForConfig(cp.config)
		if err != nil {
			return err // no certificate yet
		}
		cp.kube = kube
		return kube.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	})
	var err error
	if cp.dynamic, err = dynamic.NewForConfig(cp.config); err != nil {
		t.Fatal(err)
	}
	cp.mapper = restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(cp.kube.Discovery()))
	return cp
}

// writeServiceAccountKey writes the key pair that signs the tokens of service accounts.
func writeServiceAccountKey(t testing.TB, dir string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "sa.key"), string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})))
	writeFile(t, filepath.Join(dir, "sa.pub"), string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})))
}

// resource returns the client for the kind of an object, in its namespace.
func (cp *controlPlane) resource(o *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	gvk := o.GroupVersionKind()
	mapping, err := cp.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if meta.IsNoMatchError(err) {
		cp.mapper.Reset() // the kind may have been defined since
		mapping, err = cp.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	}
	if err != nil {
		return nil, err
	}
	client := cp.dynamic.Resource(mapping.Resource)
	if mapping.Scope.Name() == meta.RESTScopeNameRoot {
		return client, nil
	}
	namespace := o.GetNamespace()
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	return client.Namespace(namespace), nil
}

// apply applies an object as "kubectl apply --server-side --validate=strict" does.
func (cp *controlPlane) apply(ctx context.Context, o *unstructured.Unstructured, dryRun ...string) error {
	client, err := cp.resource(o)
	if err != nil {
		return err
	}
	data, err := o.MarshalJSON()
	if err != nil {
		return err
	}
	force := true
	_, err = client.Patch(ctx, o.GetName(), types.ApplyPatchType, data, metav1.PatchOptions{
		FieldManager: fieldManager, FieldValidation: metav1.FieldValidationStrict, Force: &force, DryRun: dryRun,
	})
	return err
}

// remove deletes an object at once.
func (cp *controlPlane) remove(ctx context.Context, o *unstructured.Unstructured) error {
	client, err := cp.resource(o)
	if err != nil {
		return err
	}
	// What a Job made goes with it, which is not the default.
	now, policy := int64(0), metav1.DeletePropagationBackground
	return client.Delete(ctx, o.GetName(), metav1.DeleteOptions{GracePeriodSeconds: &now, PropagationPolicy: &policy})
}

// ensureNamespace creates a namespace that the user of the objects would have, unless it exists.
func (cp *controlPlane) ensureNamespace(ctx context.Context, name string, labels map[string]string) error {
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(schema.GroupVersionKind{Version: "v1", Kind: "Namespace"})
	o.SetName(name)
	o.SetLabels(labels)
	return cp.apply(ctx, o)
}

// injectLabel is the label of pods that ask for the injection.
const injectLabel = "warder.dev/inject"

// awaitInjection waits until the API server has compiled the injection policy. A pod that is
// never created tries it out.
func (cp *controlPlane) awaitInjection(ctx context.Context) error {
	no := false
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "try", Labels: map[string]string{injectLabel: "true"}},
		Spec:       corev1.PodSpec{AutomountServiceAccountToken: &no, Containers: []corev1.Container{{Name: "app", Image: "app:1"}}},
	}
	defer cp.warnings.take()
	return eventually(ctx, func(ctx context.Context) error {
		got, err := cp.kube.CoreV1().Pods(metav1.NamespaceDefault).Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err != nil {
			return err
		}
		if len(got.Spec.InitContainers) == 0 {
			return errors.New("nothing is injected")
		}
		return nil
	})
}

// tool returns the program of that name in .tools/bin.
func tool(t testing.TB, pattern string) string {
	t.Helper()
	found, err := filepath.Glob("../../.tools/bin/" + pattern)
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 1 {
		t.Fatalf("found %d of .tools/bin/%s, want 1; run the tests with make cluster-test or make pod-test", len(found), pattern)
	}
	path, err := filepath.Abs(found[0])
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// freePorts returns unused loopback ports, all different.
func freePorts(t testing.TB, n int) []string {
	t.Helper()
	var ports []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
	}
	return ports
}

func writeFile(t testing.TB, file, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// eventually polls until do returns nil. The limit is generous: it only ends a test that hangs.
func eventually(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	pause := time.NewTicker(50 * time.Millisecond)
	defer pause.Stop()
	for {
		err := do(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; last: %w", ctx.Err(), err)
		case <-pause.C:
		}
	}
}

// problems joins what is wrong, or returns nil.
func problems(texts []string) error {
	if len(texts) == 0 {
		return nil
	}
	return errors.New(strings.Join(texts, "\n"))
}

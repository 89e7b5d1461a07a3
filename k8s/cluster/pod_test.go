//go:build pod

package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// The release of the chart. Its objects are called shop-warder-….
const (
	namespace = "shop"
	release   = "shop"
	fullname  = "shop-warder"
)

// The images of the chart's values and of the manifests.
const (
	shippedWarder = "registry.example.com/warder:0.1.0"
	shippedApp    = "registry.example.com/app:1.0.0"
)

// memoryLimit is the limit of warder in values, in MiB.
const memoryLimit = 128

// policyText is the policy of the tests, with more routes behind it.
func policyText(routes ...string) string {
	return "version: 1\nroutes:\n" +
		"  - {id: health, match: GET /healthz, public: true}\n" +
		"  - {id: api, match: \"GET,POST /api/v1/**\", allow: [{user: {}}, {api_key: {scopes: [read]}}]}\n" +
		"  - {id: admin, match: /admin/**, allow: [{user: {roles: [ADMIN]}}]}\n" +
		strings.Join(routes, "")
}

// valuesText is what a user writes for the chart.
const valuesText = `mode: sidecar
secrets: {existingSecret: warder}
config:
  log: {decisions: all}
  # More than by default, for a machine that is busy: still below Envoy's 500 ms.
  deadline: 450ms
  sessions: {timeout: 400ms}
  directory: {timeout: 400ms}
memoryLimitMiB: 128
resources: {requests: {cpu: 50m, memory: 64Mi}}
envoy: {resources: {requests: {cpu: 50m, memory: 64Mi}, limits: {memory: 512Mi}}}
app:
  enabled: true
  image: registry.example.com/app:1.0.0
  resources: {requests: {cpu: 50m, memory: 32Mi}, limits: {memory: 128Mi}}
`

// good and bad are requests to the API: of a user who is signed in, and of nobody.
func good(token string) request {
	return request{method: http.MethodPost, path: "/api/v1/x", token: token}
}

var bad = request{method: http.MethodPost, path: "/api/v1/x"}

// TestPod runs the pods of the chart on a real node, from their first start to their update.
func TestPod(t *testing.T) {
	image := warderImage(t)
	warder := warderProgram(t, image)
	n := startNode(t, append(podImages(t), writeArchive(t, shippedWarder, image), envoyArchive(t))...)
	schema, err := exec.CommandContext(t.Context(), warder, "schema", "sql").Output()
	if err != nil {
		t.Fatal(err)
	}
	startPostgres(t, string(schema))
	if err := n.ensureNamespace(t.Context(), namespace, map[string]string{"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/enforce-version": "latest"}); err != nil {
		t.Fatal(err)
	}
	n.createSecret(t, namespace)
	s := &scenario{node: n, top: t}

	// Each part leaves a release behind that is well.
	for _, part := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"a policy with mistakes stops the installation", s.badInstallation},
		{"start in order", s.start},
		{"answers", s.answers},
		{"helm test", s.helmTest},
		{"a policy is live in seconds", s.policy},
		{"a policy with mistakes stops the upgrade", s.badUpgrade},
		{"kill -9 of warder", s.kill},
		{"updates under load", s.updates},
		{"memory", s.memory},
		{"stop in order", s.stop},
		{"injection", s.injection},
	} {
		if !t.Run(part.name, part.run) {
			t.Fatalf("%s failed; the rest needs it\n%s", part.name, n.describePods())
		}
	}
}

// A scenario is the state that the parts of TestPod share.
type scenario struct {
	*node
	top    *testing.T // what a part starts for the parts after it ends with this
	valkey *process   // nil before it is started
	token  string     // of user 1, who is no admin
}

// createSecret makes what the manifests and the chart read.
func (n *node) createSecret(t *testing.T, namespace string) {
	t.Helper()
	_, err := n.kube.CoreV1().Secrets(namespace).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "warder"},
		StringData: map[string]string{"jwt-secret": jwtSecret, "redis-url": "redis://" + redisAddress + "/0", "database-url": databaseURL()},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// helm runs helm against the node.
func (n *node) helm(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), tool(t, "helm-*"), append(args, "--namespace", namespace)...)
	home := t.TempDir()
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home, "KUBECONFIG="+n.kubeconfig)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("helm %q: %w\n%s", args, err, out)
	}
	return string(out), nil
}

// upgrade installs or upgrades the release, with more arguments.
func (n *node) upgrade(t *testing.T, policy string, args ...string) error {
	t.Helper()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "values.yaml"), valuesText)
	writeFile(t, filepath.Join(dir, "policy.yaml"), policy)
	_, err := n.helm(t, append([]string{"upgrade", "--install", release, "../chart", "--timeout", "4m",
		"--values", filepath.Join(dir, "values.yaml"), "--set-file", "policy.text=" + filepath.Join(dir, "policy.yaml")}, args...)...)
	return err
}

// pods returns the pods of a namespace that a Deployment made, by their labels.
func (n *node) pods(ctx context.Context, namespace, selector string) ([]corev1.Pod, error) {
	list, err := n.kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// releasePods selects the application's pods of the release.
const releasePods = "app.kubernetes.io/instance=" + release + ",app.kubernetes.io/name=warder"

// settled waits until count pods are ready and no other pod is left.
func (n *node) settled(t *testing.T, namespace, selector string, count int) []corev1.Pod {
	t.Helper()
	var pods []corev1.Pod
	err := eventually(t.Context(), func(ctx context.Context) (err error) {
		if pods, err = n.pods(ctx, namespace, selector); err != nil {
			return err
		}
		ready := 0
		for _, p := range pods {
			if p.DeletionTimestamp == nil && isReady(p) {
				ready++
			}
		}
		if ready != count || len(pods) != count {
			return fmt.Errorf("%d of %d pods are ready, want %d", ready, len(pods), count)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, n.describePods())
	}
	return pods
}

func isReady(p corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// describePods returns the states of all pods, the last lines of their logs and the events.
func (n *node) describePods() string {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var text strings.Builder
	pods, err := n.pods(ctx, "", "")
	if err != nil {
		return err.Error()
	}
	for _, p := range pods {
		fmt.Fprintf(&text, "pod %s/%s: %s %s %s\n", p.Namespace, p.Name, p.Status.Phase, p.Status.Reason, p.Status.Message)
		for _, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
			state, err := json.Marshal(c.State)
			fmt.Fprintf(&text, "  %s: ready %t, restarts %d, %s %v\n", c.Name, c.Ready, c.RestartCount, state, err)
			lines := int64(8)
			log, err := n.kube.CoreV1().Pods(p.Namespace).GetLogs(p.Name, &corev1.PodLogOptions{Container: c.Name, TailLines: &lines}).DoRaw(ctx)
			fmt.Fprintf(&text, "    %s %v\n", bytes.ReplaceAll(bytes.TrimSpace(log), []byte("\n"), []byte("\n    ")), err)
		}
	}
	events, err := n.kube.CoreV1().Events("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err.Error()
	}
	for _, e := range events.Items[max(0, len(events.Items)-30):] {
		fmt.Fprintf(&text, "event %s %s: %s: %s\n", e.InvolvedObject.Kind, e.InvolvedObject.Name, e.Reason, e.Message)
	}
	return text.String()
}

// badInstallation: the Job of the chart validates the policy before there is any pod.
func (s *scenario) badInstallation(t *testing.T) {
	err := s.upgrade(t, policyText("  - {id: more, match: /more, alow: [{user: {}}]}\n"))
	if err == nil {
		t.Fatal("helm installed a policy with a mistake")
	}
	s.wantJobLog(t, `did you mean allow?`)
	if pods := s.settled(t, namespace, releasePods, 0); len(pods) > 0 {
		t.Errorf("there are pods: %d", len(pods))
	}
	if _, err := s.helm(t, "uninstall", release); err != nil {
		t.Fatal(err)
	}
}

// wantJobLog checks that the failed Job says what is wrong, where the documentation says to look.
func (s *scenario) wantJobLog(t *testing.T, want string) {
	t.Helper()
	pods, err := s.pods(t.Context(), namespace, "job-name="+fullname+"-validate")
	if err != nil || len(pods) != 1 {
		t.Fatalf("%d pods of the Job: %v\n%s", len(pods), err, s.describePods())
	}
	log, err := s.kube.CoreV1().Pods(namespace).GetLogs(pods[0].Name, &corev1.PodLogOptions{}).DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(log), want) {
		t.Errorf("the log of the Job has no %q:\n%s", want, log)
	}
}

// start: nothing starts before warder is ready, and warder is ready when the stores have answered.
func (s *scenario) start(t *testing.T) {
	if err := s.upgrade(t, policyText()); err != nil {
		t.Fatal(err)
	}
	// Without Valkey warder answers that it is not ready.
	var waiting []corev1.Pod
	err := eventually(t.Context(), func(ctx context.Context) (err error) {
		if waiting, err = s.pods(ctx, namespace, releasePods); err != nil {
			return err
		}
		if len(waiting) != 2 {
			return fmt.Errorf("%d pods, want 2", len(waiting))
		}
		for _, p := range waiting {
			if err := notReady(ctx, p); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range waiting {
		got, err := s.containers(t.Context(), string(p.UID))
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != 1 || got["warder"] == nil {
			t.Errorf("while warder is not ready the pod has %d containers", len(got))
		}
	}
	s.valkey = startValkey(s.top)
	for _, p := range s.settled(t, namespace, releasePods, 2) {
		got, err := s.containers(t.Context(), string(p.UID))
		if err != nil {
			t.Fatal(err)
		}
		w, e, a := got["warder"].GetStartedAt(), got["envoy"].GetStartedAt(), got["app"].GetStartedAt()
		if w == 0 || w >= e || e >= a {
			t.Errorf("warder, Envoy, application started at %d, %d, %d", w, e, a)
		}
		t.Logf("%s: Envoy started %v after warder, the application %v after Envoy", p.Name, time.Duration(e-w), time.Duration(a-e))
	}
}

// notReady returns nil when warder of the pod runs and says that it is not ready.
func notReady(ctx context.Context, p corev1.Pod) error {
	if p.Status.PodIP == "" {
		return errors.New("a pod has no address")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.Status.PodIP+":9192/readyz", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable {
		return fmt.Errorf("/readyz answers %d without Valkey", resp.StatusCode)
	}
	return nil
}

// answers: each status, through Envoy, and what the application is told.
func (s *scenario) answers(t *testing.T) {
	ctx := t.Context()
	s.token = login(t, "1", "s1")
	admin, inactive, over := login(t, "2", "s2"), login(t, "3", "s3"), login(t, "1", "over")
	if _, err := valkey(ctx, "DEL session:1:over"); err != nil {
		t.Fatal(err)
	}
	for _, p := range s.settled(t, namespace, releasePods, 2) {
		for _, tt := range []struct {
			what string
			request
			want int
		}{
			{"public", request{method: "GET", path: "/healthz"}, 200},
			{"user", good(s.token), 200},
			{"API key", request{method: "GET", path: "/api/v1/x", apiKey: postgresTestKey}, 200},
			{"admin", request{method: "GET", path: "/admin/x", token: admin}, 200},
			{"nobody", bad, 401},
			{"wrong signature", good(s.token[:len(s.token)-4] + "AAAA"), 401},
			{"signed out", good(over), 401},
			{"inactive user", good(inactive), 401},
			{"unknown API key", request{method: "GET", path: "/api/v1/x", apiKey: "wk_fedcba9876543210"}, 401},
			{"no admin", request{method: "GET", path: "/admin/x", token: s.token}, 403},
			{"no route", request{method: "GET", path: "/elsewhere", token: s.token}, 403},
		} {
			got, err := ask(ctx, http.DefaultClient, p.Status.PodIP, tt.request)
			if err != nil {
				t.Fatal(err)
			}
			if got.status != tt.want {
				t.Errorf("%s: status %d, want %d: %s", tt.what, got.status, tt.want, got.body)
			}
			if strings.Contains(got.body, "mallory") {
				t.Errorf("%s: the application hears of a user that the client named: %s", tt.what, got.body)
			}
			if tt.what == "user" && !strings.Contains(got.body, `"X-Warder-User":["1"]`) {
				t.Errorf("the application does not hear of user 1: %s", got.body)
			}
		}
	}

	// Without Valkey: no answer is a denial, and one that says what it is.
	s.valkey.stop()
	pod := s.settledAddress(t)
	err := eventually(ctx, func(ctx context.Context) error {
		got, err := ask(ctx, http.DefaultClient, pod, good(s.token))
		if err != nil {
			return err
		}
		if got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" {
			return fmt.Errorf("without Valkey: status %d, Retry-After %q", got.status, got.header.Get("Retry-After"))
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if status, err := statusOf(ctx, pod, request{method: "GET", path: "/healthz"}); status != http.StatusOK {
		t.Errorf("without Valkey a public route answers %d: %v", status, err)
	}
	s.valkey = startValkey(s.top)
	s.token = login(t, "1", "s1")
	if err := eventually(ctx, func(ctx context.Context) error { return wantStatus(ctx, pod, good(s.token), 200) }); err != nil {
		t.Error(err)
	}
}

// settledAddress returns the address of one pod of the release.
func (s *scenario) settledAddress(t *testing.T) string {
	t.Helper()
	return s.settled(t, namespace, releasePods, 2)[0].Status.PodIP
}

func wantStatus(ctx context.Context, address string, r request, want int) error {
	got, err := statusOf(ctx, address, r)
	if err == nil && got != want {
		err = fmt.Errorf("%s %s: status %d, want %d", r.method, r.path, got, want)
	}
	return err
}

// helmTest: the pod of helm test runs "warder health" against the pods of the release. There is no
// kube-proxy and no DNS here, so the pod is looked at and not its answer.
func (s *scenario) helmTest(t *testing.T) {
	out, err := s.helm(t, "get", "hooks", release)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := parse(out)
	if err != nil {
		t.Fatal(err)
	}
	address := s.settledAddress(t)
	for _, o := range objects {
		if o.GetKind() != "Pod" {
			continue
		}
		data, err := o.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		service := fullname + "." + namespace + ".svc"
		if !bytes.Contains(data, []byte("http://"+service+"/healthz")) {
			t.Fatalf("the test does not ask %s: %s", service, data)
		}
		data = bytes.ReplaceAll(data, []byte("http://"+service+"/healthz"), []byte("http://"+address+":8000/healthz"))
		pod := &corev1.Pod{}
		if err := json.Unmarshal(data, pod); err != nil {
			t.Fatal(err)
		}
		if pod, err = s.kube.CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		err = eventually(t.Context(), func(ctx context.Context) error {
			got, err := s.kube.CoreV1().Pods(namespace).Get(ctx, pod.Name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if got.Status.Phase != corev1.PodSucceeded {
				return fmt.Errorf("the pod of helm test is %s", got.Status.Phase)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.kube.CoreV1().Pods(namespace).Delete(t.Context(), pod.Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatal("the release has no pod of helm test")
}

// policy: an edit of the ConfigMap reaches both pods; one with a mistake does not, and shows.
func (s *scenario) policy(t *testing.T) {
	ctx := t.Context()
	pods := s.settled(t, namespace, releasePods, 2)
	open := request{method: "GET", path: "/more"}
	edited := time.Now()
	s.editPolicy(t, policyText("  - {id: more, match: GET /more, public: true}\n"))
	for _, p := range pods {
		if err := eventually(ctx, func(ctx context.Context) error { return wantStatus(ctx, p.Status.PodIP, open, 200) }); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: the new route is live %.1f s after the edit, with a kubelet that looks each %s", p.Name, time.Since(edited).Seconds(), syncFrequency)
	}

	s.editPolicy(t, policyText("  - {id: more, match: GET /more, allow: [{user: {role: [ADMIN]}}]}\n"))
	for _, p := range pods {
		if err := eventually(ctx, func(ctx context.Context) error { return wantMetric(ctx, p.Status.PodIP, 0) }); err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct {
			request
			want int
		}{{open, 200}, {good(s.token), 200}, {bad, 401}} {
			if err := wantStatus(ctx, p.Status.PodIP, tt.request, tt.want); err != nil {
				t.Errorf("with a bad policy in the ConfigMap: %v", err)
			}
		}
		if !isReady(p) {
			t.Errorf("%s is not ready", p.Name)
		}
	}

	s.editPolicy(t, policyText())
	for _, p := range pods {
		err := eventually(ctx, func(ctx context.Context) error {
			return errors.Join(wantMetric(ctx, p.Status.PodIP, 1), wantStatus(ctx, p.Status.PodIP, open, 403))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range s.settled(t, namespace, releasePods, 2) {
		if !slices.ContainsFunc(pods, func(before corev1.Pod) bool { return before.UID == p.UID }) || restarts(p) > 0 {
			t.Errorf("%s is new or was started again", p.Name)
		}
	}
}

// editPolicy changes the ConfigMap as kubectl edit does.
func (s *scenario) editPolicy(t *testing.T, text string) {
	t.Helper()
	patch, err := json.Marshal(map[string]any{"data": map[string]string{"policy.yaml": text}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.kube.CoreV1().ConfigMaps(namespace).Patch(t.Context(), fullname+"-policy", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// metricsOf returns the metrics of the warder at an address.
func metricsOf(ctx context.Context, address string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+":9192/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(resp.Body)
}

// wantMetric checks warder_policy_last_reload_successful.
func wantMetric(ctx context.Context, address string, want int) error {
	body, err := metricsOf(ctx, address)
	if err != nil {
		return err
	}
	if line := fmt.Sprintf("\nwarder_policy_last_reload_successful %d\n", want); !bytes.Contains(body, []byte(line)) {
		return fmt.Errorf("the metrics have no line %q", strings.TrimSpace(line))
	}
	return nil
}

func restarts(p corev1.Pod) (n int32) {
	for _, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		n += c.RestartCount
	}
	return n
}

// badUpgrade: the Job ends the upgrade, and the pods keep what they have.
func (s *scenario) badUpgrade(t *testing.T) {
	before := s.settled(t, namespace, releasePods, 2)
	if err := s.upgrade(t, policyText("  - {id: more, match: /more}\n"), "--set", "podLabels.changed=yes"); err == nil {
		t.Fatal("helm took a policy with a mistake")
	}
	s.wantJobLog(t, `routes[3]`)
	for _, p := range s.settled(t, namespace, releasePods, 2) {
		if !slices.ContainsFunc(before, func(b corev1.Pod) bool { return b.UID == p.UID }) {
			t.Errorf("%s is new", p.Name)
		}
		if err := wantMetric(t.Context(), p.Status.PodIP, 1); err != nil {
			t.Error(err)
		}
	}
}

// kill: without warder everything is refused; a second later all is as it was.
func (s *scenario) kill(t *testing.T) {
	ctx := t.Context()
	pod := s.settled(t, namespace, releasePods, 2)[0]
	before, err := s.containers(ctx, string(pod.UID))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := s.process(ctx, before["warder"].Id)
	if err != nil {
		t.Fatal(err)
	}
	allowed, denied := startLoad(t, good(s.token), onePod(pod.Status.PodIP)), startLoad(t, bad, onePod(pod.Status.PodIP))
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	err = eventually(ctx, func(ctx context.Context) error {
		after, err := s.containers(ctx, string(pod.UID))
		if err != nil {
			return err
		}
		if after["warder"].Id == before["warder"].Id {
			return errors.New("warder is not started again")
		}
		return errors.Join(wantStatus(ctx, pod.Status.PodIP, good(s.token), 200), wantStatus(ctx, pod.Status.PodIP, bad, 401))
	})
	if err != nil {
		t.Fatal(err)
	}
	yes, no := allowed.stop(), denied.stop()
	t.Logf("of the user: %v; of nobody: %v; %.2f s without an answer of warder", yes, no, yes.longest.Seconds())
	if no.statuses[200] > 0 || no.statuses[401] == 0 {
		t.Errorf("requests without a token got %v", no)
	}
	for status := range no.statuses {
		if status != 401 && status != 503 {
			t.Errorf("requests without a token got %v", no)
		}
	}
	for status := range yes.statuses {
		if status != 200 && status != 503 {
			t.Errorf("requests of the user got %v", yes)
		}
	}
	if len(yes.errors)+len(no.errors) > 0 {
		t.Errorf("requests without an answer: %q", slices.Concat(yes.errors, no.errors))
	}
	after := s.settled(t, namespace, releasePods, 2)
	for _, p := range after {
		if p.UID == pod.UID && restarts(p) != 1 {
			t.Errorf("the pod has %d restarts, want that of warder", restarts(p))
		}
	}
}

// updates: new pods of each of the three take over without one request that is lost.
func (s *scenario) updates(t *testing.T) {
	b := newBalancer(t, s.node, namespace, fullname)
	for _, tt := range []struct {
		what string
		args []string
	}{
		{"application", []string{"--set", "app.env[0].name=VERSION", "--set-string", "app.env[0].value=2"}},
		{"Envoy", []string{"--set", "envoy.concurrency=1"}},
		{"warder", []string{"--set", "config.log.level=warn"}},
	} {
		t.Run(tt.what, func(t *testing.T) {
			before := s.settled(t, namespace, releasePods, 2)
			allowed, denied := startLoad(t, good(s.token), b.everyPod), startLoad(t, bad, b.everyPod)
			if err := s.upgrade(t, policyText(), append(tt.args, "--wait")...); err != nil {
				t.Fatal(err)
			}
			for _, p := range s.settled(t, namespace, releasePods, 2) {
				if slices.ContainsFunc(before, func(b corev1.Pod) bool { return b.UID == p.UID }) {
					t.Errorf("%s is not new", p.Name)
				}
			}
			yes, no := allowed.stop(), denied.stop()
			t.Logf("of the user: %v; of nobody: %v", yes, no)
			if yes.statuses[200] == 0 || len(yes.statuses) != 1 || len(yes.errors) > 0 {
				t.Errorf("requests of the user: %v %q, want 200 only", yes, yes.errors)
			}
			if no.statuses[401] == 0 || len(no.statuses) != 1 || len(no.errors) > 0 {
				t.Errorf("requests of nobody: %v %q, want 401 only", no, no.errors)
			}
		})
	}
}

// memory: what warder took at most, by the kernel's count, is below its limit.
func (s *scenario) memory(t *testing.T) {
	address := s.settled(t, namespace, releasePods, 2)
	full := startLoad(t, good(s.token), func(n int) (string, error) { return address[n%2].Status.PodIP, nil })
	if err := eventually(t.Context(), func(ctx context.Context) error { return wantDecisions(ctx, address[0].Status.PodIP, 500) }); err != nil {
		t.Fatal(err)
	}
	full.stop()
	for _, p := range address {
		got, err := s.containers(t.Context(), string(p.UID))
		if err != nil {
			t.Fatal(err)
		}
		pid, err := s.process(t.Context(), got["warder"].Id)
		if err != nil {
			t.Fatal(err)
		}
		limit, peak := memoryOf(t, pid, "memory.limit_in_bytes"), memoryOf(t, pid, "memory.max_usage_in_bytes")
		if limit != memoryLimit<<20 {
			t.Errorf("the limit is %d bytes, want %d MiB", limit, memoryLimit)
		}
		if peak >= limit*3/4 {
			t.Errorf("warder took %d bytes at most, want less than three quarters of its limit", peak)
		}
		t.Logf("%s: warder took %d MiB at most, of %d", p.Name, peak>>20, limit>>20)
		if n := restarts(p); n != 0 {
			t.Errorf("%s has %d restarts", p.Name, n)
		}
	}
}

var decisions = regexp.MustCompile(`(?m)^warder_decisions_total\{.*reason="session".*\} (\d+)$`)

// wantDecisions checks that warder allowed that many requests of users.
func wantDecisions(ctx context.Context, address string, want int) error {
	body, err := metricsOf(ctx, address)
	if err != nil {
		return err
	}
	found := decisions.FindSubmatch(body)
	if found == nil {
		return errors.New("the metrics have no decision by a session")
	}
	n, err := strconv.Atoi(string(found[1]))
	if err == nil && n < want {
		err = fmt.Errorf("%d decisions, want %d", n, want)
	}
	return err
}

// memoryOf reads a number of the memory cgroup of a process.
func memoryOf(t *testing.T, pid int, file string) int {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(data), ":memory:")
	if !ok {
		t.Fatalf("no memory cgroup:\n%s", data)
	}
	path, _, _ := strings.Cut(rest, "\n")
	value, err := os.ReadFile(filepath.Join("/sys/fs/cgroup/memory", path, file))
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(value)))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// stop: a request under way ends well, and the three end in this order.
func (s *scenario) stop(t *testing.T) {
	ctx := t.Context()
	pod := s.settled(t, namespace, releasePods, 2)[0]
	type result struct {
		status int
		err    error
	}
	slow := make(chan result, 1)
	go func() {
		status, err := statusOf(ctx, pod.Status.PodIP, request{method: http.MethodPost, path: "/api/v1/slow?wait=4s", token: s.token})
		slow <- result{status, err}
	}()
	// It is with the application when warder has decided it.
	if err := eventually(ctx, func(ctx context.Context) error { return s.logged(ctx, pod, `"/api/v1/slow"`) }); err != nil {
		t.Fatal(err)
	}
	if err := s.kube.CoreV1().Pods(namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	ended := map[string]*cri.ContainerStatus{}
	err := eventually(ctx, func(ctx context.Context) error {
		got, err := s.containers(ctx, string(pod.UID))
		if err != nil {
			return err
		}
		for name, c := range got {
			if c.State == cri.ContainerState_CONTAINER_EXITED {
				ended[name] = c
			}
		}
		if len(ended) != 3 {
			return fmt.Errorf("%d of 3 containers have ended", len(ended))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if r := <-slow; r.err != nil || r.status != http.StatusOK {
		t.Errorf("the request under way: status %d, %v", r.status, r.err)
	}
	a, e, w := ended["app"].FinishedAt, ended["envoy"].FinishedAt, ended["warder"].FinishedAt
	if a == 0 || a >= e || e >= w {
		t.Errorf("application, Envoy, warder ended at %d, %d, %d", a, e, w)
	}
	for name, c := range ended {
		if c.ExitCode != 0 {
			t.Errorf("%s ended with %d %s", name, c.ExitCode, c.Reason)
		}
	}
	t.Logf("Envoy ended %v after the application, warder %v after Envoy", time.Duration(e-a), time.Duration(w-e))
	s.settled(t, namespace, releasePods, 2)
}

// logged returns nil when warder of the pod has written a line with the text.
func (s *scenario) logged(ctx context.Context, pod corev1.Pod, text string) error {
	log, err := s.kube.CoreV1().Pods(namespace).GetLogs(pod.Name, &corev1.PodLogOptions{Container: "warder"}).DoRaw(ctx)
	if err != nil {
		return err
	}
	if !bytes.Contains(log, []byte(text)) {
		return fmt.Errorf("warder has not logged %s", text)
	}
	return nil
}

// injection: pods of an application that knows nothing of warder get it by their label.
func (s *scenario) injection(t *testing.T) {
	ctx := t.Context()
	const app = "app" // the namespace of the example
	if err := s.ensureNamespace(ctx, app, nil); err != nil {
		t.Fatal(err)
	}
	// As the documentation says: kubectl create configmap NAME --from-file=FILE.
	for name, file := range map[string]string{"warder-config": "../kustomize/base/warder.yaml", "envoy": "../kustomize/base/envoy.yaml"} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		s.createConfigMap(t, app, name, filepath.Base(file), string(data))
	}
	s.createConfigMap(t, app, "warder-policy", "policy.yaml", policyText())
	s.createSecret(t, app)
	s.applyFile(t, "../inject/inject.yaml")
	if err := s.awaitInjection(ctx); err != nil {
		t.Fatal(err)
	}
	s.applyFile(t, "../inject/example.yaml", "Secret")
	for _, p := range s.settled(t, app, injectLabel+"=true", 2) {
		var names []string
		for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
			names = append(names, c.Name)
		}
		if !slices.Equal(names, []string{"warder", "envoy", "app"}) {
			t.Errorf("the pod has %q", names)
		}
		for _, tt := range []struct {
			request
			want int
		}{{good(s.token), 200}, {bad, 401}, {request{method: "GET", path: "/admin/x", token: s.token}, 403}} {
			if err := wantStatus(ctx, p.Status.PodIP, tt.request, tt.want); err != nil {
				t.Error(err)
			}
		}
	}
}

func (n *node) createConfigMap(t *testing.T, namespace, name, file, text string) {
	t.Helper()
	_, err := n.kube.CoreV1().ConfigMaps(namespace).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{file: text}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// applyFile applies a manifest but for the kinds that the user brings.
func (n *node) applyFile(t *testing.T, file string, without ...string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := parse(string(data))
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		if slices.Contains(without, o.GetKind()) {
			continue
		}
		if err := n.apply(t.Context(), o); err != nil {
			t.Fatalf("%s %s: %v", o.GetKind(), o.GetName(), err)
		}
	}
}

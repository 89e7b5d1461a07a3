package demo

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed" // for the policy
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"warder/authz"
	"warder/authz/mask"
	"warder/authz/memory"
	"warder/cmd/warder/internal/cli"
	"warder/cmd/warder/internal/config"
	"warder/cmd/warder/internal/server"
	"warder/envoy"
	"warder/policy"
)

// demoListen is the default address of --listen.
const demoListen = "127.0.0.1:10000"

// demoPolicy is the policy of the demo.
//
//go:embed policy.yaml
var demoPolicy []byte

// NewCommand returns the command warder demo.
func NewCommand(p cli.Process) *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run warder, an Envoy and an example application on this machine",
		Long: `demo runs an example application that signs people in and out and echoes what it
received, warder, and a real Envoy in front of both, and prints commands to try.
Users, API keys and sessions are in memory; --redis-url puts the sessions into a
Redis. The policy may be edited while it runs.

Envoy is the one of --envoy, else the one on PATH, else the one that make tools
installed. Without one, warder answers through gRPC only.

--tour walks through the whole story by itself, prints a line a step, and exits with
1 when a status is not the expected one. All of it listens on loopback only.`,
		Example: `  warder demo
  warder demo --tour
  warder demo --redis-url redis://127.0.0.1:6379/0`,
		Args: cli.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(cmd.Flags().Changed("listen")); err != nil {
				return cli.WrongUsage(cmd, err)
			}
			return start(cmd.Context(), p, o)
		},
	}
	cmd.Flags().BoolVar(&o.tour, "tour", false, "walk through the story, then exit")
	cmd.Flags().StringVar(&o.listen, "listen", demoListen, "where Envoy takes requests, a loopback `address`; any free port with --tour")
	cmd.Flags().StringVar(&o.envoy, "envoy", "", "the `path` of Envoy")
	cmd.Flags().StringVar(&o.redisURL, "redis-url", "", "a Redis for the sessions, as a `URL`")
	return cmd
}

type options struct {
	tour     bool
	listen   string
	envoy    string
	redisURL string
}

// check validates the options. It also gives the tour a free port, because nobody else needs
// to know its address.
func (o *options) check(listenGiven bool) error {
	if o.tour && !listenGiven {
		o.listen = "127.0.0.1:0"
	}
	at, err := netip.ParseAddrPort(o.listen)
	switch {
	case err != nil:
		return fmt.Errorf("--listen is %q; write a loopback address and a port such as %s", o.listen, demoListen)
	case !at.Addr().IsLoopback():
		return fmt.Errorf("--listen is %s, which others can reach, and everybody knows the demo's passwords; use a loopback address such as %s", o.listen, demoListen)
	}
	return nil
}

// A demo holds all parts of a running demo.
type demo struct {
	cli.Process
	options options
	dir     string // holds the policy and Envoy's files; removed at the end
	secret  []byte // signs the tokens
	keys    apiKeys
	app     *http.Server
	appAt   string // host:port
	stores  *server.Stores
	envoy   *envoy.Process // nil if there is none
	output  *lockedBuffer  // what Envoy wrote
	warder  server.Addresses
}

// apiKeys are the API keys of the demo. Each run makes new ones.
type apiKeys struct{ reports, other, expired string }

// start starts the application, then warder, then Envoy, and stops them in reverse
// order.
func start(ctx context.Context, p cli.Process, o options) (err error) {
	ctx, end := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer end()
	dir, err := os.MkdirTemp("", "warder-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	d := &demo{Process: p, options: o, dir: dir, secret: []byte(randomText() + randomText()), output: new(lockedBuffer)}

	binary, noEnvoy := envoy.FindBinary(o.envoy)
	if noEnvoy != nil && o.envoy != "" {
		return noEnvoy
	}
	if noEnvoy != nil {
		fmt.Fprintf(p.Stderr, "warder: %v: warder answers through gRPC only\n", noEnvoy)
	}
	if err := d.startApp(ctx); err != nil {
		return err
	}
	defer d.app.Close()
	defer d.stores.Close()

	var decisions lockedBuffer
	srv, ready, err := d.newServer(&decisions)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	serving, stop := context.WithCancel(ctx)
	defer stop()
	group.Go(func() error { return srv.Run(serving) })
	group.Go(func() error {
		defer stop()
		select {
		case d.warder = <-ready:
		case <-ctx.Done():
			return nil
		}
		if binary != "" {
			if err := d.startEnvoy(ctx, binary); err != nil {
				return err
			}
			defer d.envoy.Stop()
		}
		if o.tour {
			return d.tour(ctx)
		}
		return d.wait(ctx)
	})
	err = group.Wait()
	if denials := decisions.String(); denials != "" {
		printDenials(p.Stdout, denials)
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil // stopped by a signal
	}
	return err
}

// startApp fills the stores and starts the example application.
func (d *demo) startApp(ctx context.Context) error {
	app := &app{users: users(), secret: d.secret}
	facts := memory.New(nil)
	for name, user := range app.users {
		facts.PutUser(user.ID, authz.User{Active: name != "grace", Roles: user.Roles})
	}
	putKey := func(prefix string, expires time.Time, scopes ...string) string {
		key := prefix + "_" + randomText()
		facts.PutAPIKey(authz.HashAPIKey(key), authz.APIKey{Prefix: prefix, Active: true, Scopes: scopes, ExpiresAt: expires, OwnerID: "2"})
		return key
	}
	d.keys = apiKeys{
		reports: putKey("wk_reports", time.Time{}, "reports:read"),
		other:   putKey("wk_other", time.Time{}, "assets:read"),
		expired: putKey("wk_expired", time.Now().Add(-time.Minute), "reports:read"),
	}
	d.stores = server.MemoryStores(facts)
	app.sessions = memorySessions{facts}
	if d.options.redisURL != "" {
		sessions, err := d.useRedis(ctx)
		if err != nil {
			return err
		}
		app.sessions = sessions
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	d.appAt = l.Addr().String()
	d.app = &http.Server{Handler: app.handler(), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = d.app.Serve(l) }() // returns when it is closed
	return nil
}

// useRedis makes both warder and the application keep sessions in Redis.
func (d *demo) useRedis(ctx context.Context) (demoSessions, error) {
	c := config.DefaultSettings().Sessions
	c.RedisURL = mask.New(d.options.redisURL)
	c.Timeout = 180 * time.Millisecond // the machine of a demo may be busy
	d.stores.Checks = nil
	if err := d.stores.AddRedis(c, nil, nil); err != nil {
		return nil, err
	}
	options, err := redis.ParseURL(d.options.redisURL)
	if err != nil {
		return nil, errors.New("--redis-url: write one such as redis://127.0.0.1:6379/0")
	}
	client := redis.NewClient(options)
	d.stores.OnClose(func() { _ = client.Close() })
	if err := client.Ping(ctx).Err(); err != nil {
		return nil, fmt.Errorf("--redis-url: no Redis answers there: %w", err)
	}
	return redisSessions{client}, nil
}

// newServer returns a server like that of warder serve, with the stores of the demo. The
// channel receives its addresses when it is ready.
func (d *demo) newServer(decisions io.Writer) (*server.Server, <-chan server.Addresses, error) {
	s := config.DefaultSettings()
	s.Listen.GRPC = config.Address{Network: "tcp", Address: "127.0.0.1:0"}
	s.Listen.Admin = config.Address{Network: "tcp", Address: "127.0.0.1:0"}
	s.Policy = d.policyPath()
	s.JWT.Keys = []config.JWTKey{{Algorithm: "HS256", Secret: mask.New(string(d.secret))}}
	s.ClientIP.Source = authz.SourcePeer
	s.Shutdown.Delay = 0
	s.Log = config.Log{Level: "info", Format: "text", Decisions: config.LogAll}
	if d.options.tour {
		s.Log.Level, s.Log.Decisions = "error", config.LogDeny
	} else {
		decisions = d.Stdout
	}
	if err := d.writePolicy(); err != nil {
		return nil, nil, err
	}
	ready := make(chan server.Addresses, 1)
	srv, err := server.New(s, server.Options{
		Stdout: decisions, Log: server.NewLogger(d.Stderr, s.Log), Env: d.Env, Stores: d.stores,
		OnReady: func(b server.Addresses) { ready <- b },
	})
	return srv, ready, err
}

// writePolicy writes the policy to a file that can be edited, with its schema beside it.
func (d *demo) writePolicy() error {
	const name = "policy.schema.json"
	text := bytes.Replace(demoPolicy, []byte("../../../../policy/"+name), []byte(name), 1)
	return errors.Join(
		os.WriteFile(d.policyPath(), text, 0o600),
		os.WriteFile(filepath.Join(d.dir, name), []byte(policy.Schema), 0o600))
}

func (d *demo) policyPath() string { return filepath.Join(d.dir, "policy.yaml") }

func (d *demo) startEnvoy(ctx context.Context, binary string) error {
	// Envoy would report a used port only in the last of many lines.
	if l, err := new(net.ListenConfig).Listen(ctx, "tcp", d.options.listen); err != nil {
		return fmt.Errorf("--listen %s: %w; choose another one", d.options.listen, err)
	} else if err := l.Close(); err != nil {
		return err
	}
	config, err := envoy.SidecarConfig(envoy.ConfigOptions{
		Listen: d.options.listen, Admin: "127.0.0.1:0", Upstream: d.appAt, Warder: d.warder.GRPC.String(), AccessLog: os.DevNull,
	})
	if err != nil {
		return err
	}
	d.envoy, err = envoy.StartProcess(ctx, binary, d.dir, config, d.output)
	if err != nil && ctx.Err() == nil {
		fmt.Fprint(d.Stderr, d.output.String())
	}
	return err
}

// wait prints what to try and waits for the end.
func (d *demo) wait(ctx context.Context) error {
	if d.envoy == nil {
		fmt.Fprintf(d.Stdout, withoutEnvoy, d.warder.GRPC, d.warder.Admin, d.appAt, d.policyPath())
		<-ctx.Done()
		return nil
	}
	fmt.Fprintf(d.Stdout, tryIt, d.envoy.Listen, d.appAt, d.warder.GRPC, d.warder.Admin, d.envoy.Admin, d.policyPath(),
		demoPassword, d.keys.reports, d.keys.other, d.keys.expired)
	select {
	case <-ctx.Done():
		return nil
	case <-d.envoy.Ended():
		fmt.Fprint(d.Stderr, d.output.String())
		return errors.New("the demo's Envoy ended")
	}
}

const withoutEnvoy = `warder is running without an Envoy. Ctrl-C ends it.

  gRPC         %[1]s   envoy.service.auth.v3.Authorization/Check
  admin        http://%[2]s/readyz
  application  http://%[3]s, where nothing is checked
  policy       %[4]s, reloaded when it changes

"make tools" installs an Envoy, and --envoy names one.

Decisions, one line each:
`

const tryIt = `warder is running behind Envoy. Ctrl-C ends it. Try:

  URL=http://%[1]s
  curl -i $URL/echo                                        # 401: nobody
  TOKEN=$(curl -s $URL/login -d user=carl -d password=%[7]s)   # or ada, an ADMIN, or vera, a VIEWER
  curl -i $URL/echo -H "Authorization: Bearer $TOKEN"      # 200: look at the x-warder-* headers
  curl -i $URL/reports/7 -H "Authorization: Bearer $TOKEN" # 200: carl has the role CONTROL
  curl -i $URL/admin/ -H "Authorization: Bearer $TOKEN"    # 403: and is no ADMIN
  curl -i $URL/echo -H "Authorization: Bearer $TOKEN" -H "X-Warder-Roles: ADMIN"
                                                           # 200: the forged header is gone
  curl -i $URL/reports/7 -H "X-API-Key: %[8]s"
                                                           # 200: the key has the scope
  curl -i $URL/reports/7 -H "X-API-Key: %[9]s"
                                                           # 403: this one has not
  curl -i $URL/reports/7 -H "X-API-Key: %[10]s"
                                                           # 401: it has expired
  curl -i $URL/office                                      # 403: you are elsewhere
  curl -i -X POST $URL/logout -H "Authorization: Bearer $TOKEN"
  curl -i $URL/echo -H "Authorization: Bearer $TOKEN"      # 401: at once

  application  http://%[2]s, behind Envoy
  warder       %[3]s, and http://%[4]s/readyz
  Envoy        http://%[5]s, its admin interface
  policy       %[6]s, reloaded when it changes

Decisions and Envoy's access log, one line each:
`

// randomText returns an unguessable text of about 26 letters and digits.
func randomText() string { return strings.ToLower(rand.Text()) }

// A lockedBuffer is a buffer that one goroutine can write while another reads it.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

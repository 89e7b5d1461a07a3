package operator

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"warder/authz"
	"warder/authz/mask"
	"warder/authz/postgres"
	"warder/authz/redis"
	"warder/cmd/warder/internal/cli"
	"warder/cmd/warder/internal/config"
)

// Patience bounds one question to a store. The timeouts of the service are for requests.
const Patience = 10 * time.Second

// A Store is a store whose URL an operator can replace.
type Store struct {
	flag     string // without the dashes
	variable string
	what     string
}

// The stores.
var (
	Redis    = Store{"redis-url", "WARDER_ADMIN_REDIS_URL", "Redis"}
	Database = Store{"database-url", "WARDER_ADMIN_DATABASE_URL", "Postgres"}
)

// Options are the flags of a command that uses stores.
type Options struct {
	ConfigPath string
	urls       map[Store]*given
}

// given holds the flags of the URL of one store.
type given struct{ url, file string }

// NewOptions adds the flags of the configuration and of the URLs of the stores to cmd.
func NewOptions(cmd *cobra.Command, stores ...Store) *Options {
	o := &Options{urls: map[Store]*given{}}
	cli.AddConfigFlag(cmd, &o.ConfigPath)
	for _, s := range stores {
		g := &given{}
		o.urls[s] = g
		cmd.Flags().StringVar(&g.url, s.flag, "", fmt.Sprintf("the `URL` of %s for this command (%s)", s.what, s.variable))
		cmd.Flags().StringVar(&g.file, s.flag+"-file", "", fmt.Sprintf("a `file` with that URL (%s_FILE)", s.variable))
	}
	return o
}

// An Access says what a command does with a store.
type Access int

// The values of Access.
const (
	Reads  Access = iota // with the service's own URL, unless another one is given
	Writes               // with a URL that is given for this
)

// Config reads the configuration, and replaces the URLs of the stores by those of the operator.
// It returns a usage error if the command writes to a store and there is no URL for this.
func (o *Options) Config(cmd *cobra.Command, p cli.Process, access map[Store]Access) (*config.Config, error) {
	path, err := config.FindFile(o.ConfigPath, p.Env)
	if err != nil {
		return nil, err
	}
	c := config.ReadPart(path, p.Env)
	for _, s := range []Store{Redis, Database} {
		kind, used := access[s]
		if !used {
			continue
		}
		own, err := o.override(s, p)
		if err != nil {
			return nil, cli.WrongUsage(cmd, err)
		}
		switch {
		case own.IsSet() && s == Redis:
			c.UseRedisURL(own)
		case own.IsSet():
			c.UseDatabaseURL(own)
		case kind == Writes:
			return nil, cli.WrongUsage(cmd, fmt.Errorf("this writes to %s, and the URL of the service is not used for that; give --%s-file, --%s or %s",
				s.what, s.flag, s.flag, s.variable))
		}
	}
	return c, nil
}

// override returns the URL that is given for a store: the flags win over the environment.
func (o *Options) override(s Store, p cli.Process) (config.Override, error) {
	g := o.urls[s]
	if g.url != "" && g.file != "" {
		return config.Override{}, fmt.Errorf("--%s and --%s-file both name the URL; give only one of them", s.flag, s.flag)
	}
	value, isSet := p.Env(s.variable)
	file, isFile := p.Env(s.variable + "_FILE")
	switch {
	case g.url != "":
		if hasPassword(g.url) {
			fmt.Fprintf(p.Stderr, "warning: --%s holds a password, which everybody on this machine can see in the list of processes; use --%s-file or %s\n", s.flag, s.flag, s.variable)
		}
		return config.Override{Name: "--" + s.flag, Value: mask.New(g.url)}, nil
	case g.file != "":
		return config.Override{Name: "--" + s.flag + "-file", File: g.file}, nil
	case isSet && isFile:
		return config.Override{}, fmt.Errorf("%s and %s_FILE are both set; unset one of them", s.variable, s.variable)
	case isSet && value == "", isFile && file == "":
		return config.Override{}, fmt.Errorf("%s or %s_FILE is set but empty; give it a value or unset it", s.variable, s.variable)
	case isSet:
		return config.Override{Name: s.variable, Value: mask.New(value)}, nil
	case isFile:
		return config.Override{Name: s.variable + "_FILE", File: file}, nil
	}
	return config.Override{}, nil
}

func hasPassword(text string) bool {
	u, err := url.Parse(text)
	if err != nil {
		return strings.Contains(text, "@")
	}
	_, has := u.User.Password()
	return has || u.Query().Has("password")
}

// OpenSessions opens the session store. The caller must close it.
func OpenSessions(ctx context.Context, c *config.Config) (*redis.Admin, error) {
	s, err := c.ResolveSessions()
	if err != nil {
		return nil, err
	}
	switch {
	case s.Rule == config.RuleNone:
		return nil, errors.New("sessions.rule is none, so there are no sessions: a token is valid until it expires")
	case s.InMemory():
		return nil, errors.New("sessions.redis_url is memory://, so each warder has its sessions in its own memory; there is no Redis to ask")
	}
	s.Timeout = Patience
	if s, err = s.LogIn(ctx); err != nil {
		return nil, err
	}
	return redis.NewAdmin(s.Redis(nil))
}

// databaseSettings returns the settings of the database of users and keys.
func databaseSettings(ctx context.Context, c *config.Config) (config.Directory, error) {
	d, err := c.ResolveDirectory()
	if err != nil {
		return d, err
	}
	if !d.UsesDatabase() && d.File == "" {
		return d, errors.New("users are in tokens (directory.users) and directory.api_keys is off, so there is no database")
	}
	if d.File != "" {
		return d, fmt.Errorf("users and keys are in directory.file (%s), not in a database; change that file", d.File)
	}
	d.Timeout = Patience
	return d.LogIn(ctx)
}

// OpenKeys opens the API keys in the database. The caller must close them.
func OpenKeys(ctx context.Context, c *config.Config, access Access) (*postgres.Admin, error) {
	d, err := databaseSettings(ctx, c)
	if err != nil {
		return nil, err
	}
	if d.NoAPIKeys {
		return nil, errors.New("directory.api_keys is off, so there are no API keys; leave it out to use them")
	}
	return postgres.OpenAdmin(ctx, d.Postgres(nil), d.Commands, access == Writes)
}

// ErrUsersInTokens says that users cannot be looked up.
var ErrUsersInTokens = errors.New("directory.users is token, so the roles and the state of a user are in the user's tokens; warder doctor --token-file shows those of one")

// FindUser looks a user up as the service does, in the database or in directory.file. The error
// is [authz.ErrNotFound] if there is no such user, and [ErrUsersInTokens] if users cannot be looked
// up.
func FindUser(ctx context.Context, c *config.Config, id string) (authz.User, error) {
	d, err := c.ResolveDirectory()
	if err != nil {
		return authz.User{}, err
	}
	if d.NoUsers {
		return authz.User{}, ErrUsersInTokens
	}
	if d.File != "" {
		file, err := config.OpenDirectory(d)
		if err != nil {
			return authz.User{}, err
		}
		return file.User(ctx, id)
	}
	d.Timeout = Patience
	if d, err = d.LogIn(ctx); err != nil {
		return authz.User{}, err
	}
	directory, err := postgres.New(d.Postgres(nil))
	if err != nil {
		return authz.User{}, err
	}
	defer directory.Close()
	return directory.User(ctx, id)
}

package main

// environmentFile is the File of a problem that is about a variable.
const environmentFile = "environment"

// environmentVariables are the variables that stand for keys of the file, as the
// help lists them. A variable that is set wins over the file.
var environmentVariables = []struct{ name, key string }{
	{"WARDER_LISTEN_GRPC", "listen.grpc"},
	{"WARDER_LISTEN_ADMIN", "listen.admin"},
	{"WARDER_POLICY", "policy"},
	{"WARDER_JWT_SECRET", "jwt.keys[0].secret"},
	{"WARDER_JWT_SECRET_FILE", "jwt.keys[0].secret_file"},
	{"REDIS_URL", "sessions.redis_url"},
	{"REDIS_URL_FILE", "sessions.redis_url_file"},
	{"DATABASE_URL", "directory.database_url"},
	{"DATABASE_URL_FILE", "directory.database_url_file"},
	{"WARDER_TRUSTED_PROXIES", "client_ip.trusted_proxies"},
}

// readEnvironment lets the variables that are set replace what the file says.
// An empty variable is as good as none, unless it stands for a secret: that was
// meant to be there.
func (c *config) readEnvironment(env lookupEnv) {
	// A secret of the environment replaces the whole pair of the file, so that
	// REDIS_URL wins over redis_url_file too.
	var jwtSecret, redisURL, databaseURL secretSource
	readers := map[string]fieldReader{
		"WARDER_LISTEN_GRPC":     text(&c.listen.grpc),
		"WARDER_LISTEN_ADMIN":    text(&c.listen.admin),
		"WARDER_POLICY":          file(&c.policy),
		"WARDER_JWT_SECRET":      secretText(&jwtSecret),
		"WARDER_JWT_SECRET_FILE": secretFile(&jwtSecret),
		"REDIS_URL":              secretText(&redisURL),
		"REDIS_URL_FILE":         secretFile(&redisURL),
		"DATABASE_URL":           secretText(&databaseURL),
		"DATABASE_URL_FILE":      secretFile(&databaseURL),
		"WARDER_TRUSTED_PROXIES": textList(&c.clientIP.trustedProxies),
	}
	for _, v := range environmentVariables {
		value, set := env(v.name)
		if !set {
			continue
		}
		if value == "" {
			if isSecretVariable(v.name) {
				c.reader.problems = append(c.reader.problems, problem{File: environmentFile, Field: v.name,
					Message: "is set but empty; give it a value or unset it"})
			}
			continue
		}
		c.reader.places[v.key] = problem{File: environmentFile, Field: v.name}
		readers[v.name](c.reader, v.key, yamlValue{kind: yamlString, text: value, fromEnv: true})
	}
	if redisURL.isSet() {
		c.sessions.url = redisURL
	}
	if databaseURL.isSet() {
		c.directory.url = databaseURL
	}
	if jwtSecret.isSet() {
		c.replaceJWTSecret(jwtSecret)
	}
}

func isSecretVariable(name string) bool {
	switch name {
	case "WARDER_LISTEN_GRPC", "WARDER_LISTEN_ADMIN", "WARDER_POLICY", "WARDER_TRUSTED_PROXIES":
		return false
	}
	return true
}

// replaceJWTSecret puts the secret of the environment in the place of the one of
// the file's only key, which keeps its algorithm and kid.
func (c *config) replaceJWTSecret(secret secretSource) {
	switch len(c.jwt.keys) {
	case 0:
		c.jwt.keys = []jwtKeyConfig{{algorithm: "HS256", secret: secret}}
	case 1:
		c.jwt.keys[0].secret = secret
	default:
		c.reader.fail(secret.field, "is set, but jwt.keys lists %d keys, so that it is not clear which one is meant; unset it or list one key", len(c.jwt.keys))
	}
}

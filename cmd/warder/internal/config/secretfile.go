package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"warder/authz/mask"
	"warder/cmd/warder/internal/cli"
)

// maxSecretFile is the maximum size of a file with a secret, in bytes.
const maxSecretFile = 64 << 10

// maxPublicFile is the maximum size of a file with public keys, in bytes.
const maxPublicFile = 512 << 10

// A SecretFile is a file with one secret, or with public keys, which may change while warder
// runs. The zero value means that there is no file.
type SecretFile struct {
	Key    string // the key of the configuration that names the file, for logs and metrics
	Path   string
	Public bool // it holds public keys, in a format that may have white space around them
}

// Read reads the secret. The error names the file, and never contains what is in it.
func (f SecretFile) Read() (mask.Secret, error) {
	read := readSecretFile
	if f.Public {
		read = readPublicFile
	}
	secret, err := read(f.Path)
	if err != nil {
		return mask.Secret{}, fmt.Errorf("%s %w", f.Path, err)
	}
	return secret, nil
}

// file returns the file of the source, or the zero SecretFile if the secret is not in a file.
func (s secretSource) file() SecretFile {
	if s.path == "" {
		return SecretFile{}
	}
	return SecretFile{Key: s.field + "_file", Path: s.path}
}

// readSecretFile reads a secret from a file: see cleanSecret.
func readSecretFile(path string) (mask.Secret, error) {
	data, err := cli.ReadRegular(path, maxSecretFile)
	if err != nil {
		return mask.Secret{}, err
	}
	secret, err := cleanSecret(string(data))
	if errors.Is(err, errEmptySecret) {
		err = fmt.Errorf("%w; write the secret into it", err)
	}
	if err != nil {
		return mask.Secret{}, err
	}
	return mask.New(secret), nil
}

// readPublicFile reads a file with public keys.
func readPublicFile(path string) (mask.Secret, error) {
	data, err := cli.ReadRegular(path, maxPublicFile)
	return mask.New(string(data)), err
}

// A loginSecret is the URL or the password of a store, and the file that it is from.
type loginSecret struct {
	file  SecretFile
	value *mask.Secret
}

// secrets returns the secrets of the session store that are in files.
func (s *Sessions) secrets() []loginSecret {
	return inFiles(loginSecret{s.RedisURLFile, &s.RedisURL}, loginSecret{s.PasswordFile, &s.Password}, loginSecret{s.Sentinel.PasswordFile, &s.Sentinel.Password})
}

// secrets returns the secrets of the database that are in files.
func (d *Directory) secrets() []loginSecret {
	return inFiles(loginSecret{d.DatabaseURLFile, &d.DatabaseURL}, loginSecret{d.PasswordFile, &d.Password})
}

func inFiles(all ...loginSecret) (found []loginSecret) {
	for _, secret := range all {
		if secret.file.Path != "" {
			found = append(found, secret)
		}
	}
	return found
}

// SecretFiles returns the files of the session store's secrets.
func (s Sessions) SecretFiles() []SecretFile { return filesOf(s.secrets()) }

// SecretFiles returns the files of the database's secrets.
func (d Directory) SecretFiles() []SecretFile { return filesOf(d.secrets()) }

func filesOf(secrets []loginSecret) (files []SecretFile) {
	for _, secret := range secrets {
		files = append(files, secret.file)
	}
	return files
}

// SecretContents returns the contents that SecretFiles had.
func (s Sessions) SecretContents() []mask.Secret { return contentsOf(s.secrets()) }

// SecretContents returns the contents that SecretFiles had.
func (d Directory) SecretContents() []mask.Secret { return contentsOf(d.secrets()) }

func contentsOf(secrets []loginSecret) (contents []mask.Secret) {
	for _, secret := range secrets {
		contents = append(contents, *secret.value)
	}
	return contents
}

// RelatedFiles returns the files of certificates and keys that the configuration and the URL name.
func (s Sessions) RelatedFiles() (files []SecretFile) {
	named := s.Redis(nil).Files()
	for _, key := range slices.Sorted(maps.Keys(named)) {
		files = append(files, SecretFile{Key: key, Path: named[key]})
	}
	return files
}

// RelatedFiles returns the files that the database's URL names, such as certificates.
func (d Directory) RelatedFiles() (files []SecretFile) {
	named := d.Postgres(nil).Files()
	for _, parameter := range slices.Sorted(maps.Keys(named)) {
		files = append(files, SecretFile{Key: "directory.database_url " + parameter, Path: named[parameter]})
	}
	return files
}

// WithSecrets returns the settings with other contents of SecretFiles, in the same order.
func (s Sessions) WithSecrets(contents []mask.Secret) Sessions {
	fill(s.secrets(), contents)
	return s
}

// WithSecrets returns the settings with other contents of SecretFiles, in the same order.
func (d Directory) WithSecrets(contents []mask.Secret) Directory {
	fill(d.secrets(), contents)
	return d
}

func fill(secrets []loginSecret, contents []mask.Secret) {
	for i, secret := range secrets {
		*secret.value = contents[i]
	}
}

// ReadSecrets reads the secrets of the files.
func ReadSecrets(files []SecretFile) ([]mask.Secret, error) {
	contents := make([]mask.Secret, len(files))
	for i, file := range files {
		var err error
		if contents[i], err = file.Read(); err != nil {
			return nil, err
		}
	}
	return contents, nil
}

package policy

// Load reads a policy from a file or from a folder of *.yaml files. Every
// problem of every file is in the error, a [Problems] value.
// env looks up the ${VAR} of ip_lists, like os.LookupEnv.
func Load(path string, env func(string) (string, bool)) (*Policy, error) { panic("contract only") }

// A File is the name, for messages, and the content of a policy file.
type File struct {
	Name string
	Data []byte
}

// Parse compiles the files as one policy.
func Parse(files []File, env func(string) (string, bool)) (*Policy, error) { panic("contract only") }

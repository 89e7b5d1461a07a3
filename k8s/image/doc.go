// Image builds warder's container image without Docker: the static program, a
// certificate bundle and one user, for each platform, as an OCI image layout and
// as archives for "docker load" and "ctr images import".
//
// It owns what is in the image and what the image says about itself. The same
// commit and the same Go give the same digest, wherever it is built: no time, path,
// user or file mode of the building machine gets in. "make image" runs it. It is a
// module of its own, so that warder's go.mod lists only what warder itself needs.
package main

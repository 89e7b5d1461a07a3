// Package operator holds what the commands that look at and change the stores share: the
// flags and variables of the stores' URLs, opening the stores, and the question before a
// change.
//
// The packages of the commands session, user, key and doctor use it. It never writes to a
// store by itself, and never uses a URL of the service to write.
package operator

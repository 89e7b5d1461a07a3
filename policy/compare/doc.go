// Package compare says what two policies decide differently, and how a policy fits the
// operations of an application.
//
// It owns the division of all requests into cells that no pattern of the policies tells apart.
// Each cell is decided by the policies themselves, so that the answers are exact and no
// request is left out. The commands diff and import call it.
//
// It decides no request, reads no files and writes no words: the commands put its answers
// into sentences.
package compare

package postgres

// Opening reports whether the pool is still opening the connections that it opens in the
// background when it is made.
func (d *Directory) Opening() bool {
	s := d.pool.Stat()
	// A question that found no idle connection has opened one beside it.
	return s.ConstructingConns() > 0 || s.NewConnsCount() != int64(d.pool.Config().MinConns)+s.EmptyAcquireCount()
}

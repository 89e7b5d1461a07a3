package main

func (d *differ) againstOpenAPI(p process, path string) error { return nil }

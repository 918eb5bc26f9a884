package arbiter

//go:wasmexport arbiter_abi_v1
func abiV1() {}

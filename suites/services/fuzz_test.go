package services

import "testing"

func FuzzRestartLoops(f *testing.F) {
	f.Add([]byte("Id=a.service\nSubState=auto-restart\nNRestarts=7\n\nId=b.service\nNRestarts=x\n"))
	f.Fuzz(func(_ *testing.T, shown []byte) { restartLoops(shown) })
}

package report

import (
	"os"
	"path/filepath"
	"testing"
)

func TestPreview(t *testing.T) {
	dir := os.Getenv("PREVIEW")
	for _, n := range []int{2, 6} {
		p := filepath.Join(dir, map[int]string{2: "two.html", 6: "six.html"}[n])
		if err := sample(n, map[int]float64{2: 5, 6: 1}[n], map[int]int{2: 45, 6: 60}[n]).WriteHTML(p); err != nil {
			t.Fatal(err)
		}
	}
	sample(2, 5, 45).WriteTable(os.Stdout)
}

// Full stands for the full program in the front's tests: it tells its arguments and its
// environment, and exits with 42.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Printf("argv %q\n", os.Args)
	for _, v := range os.Environ() {
		fmt.Println(v)
	}
	os.Exit(42)
}

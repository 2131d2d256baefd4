// The cloakroom of the opera, on HTTP port 8080.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
	"strconv"
	"time"
)

var coats = map[int]string{
	101: "a fur coat", 102: "two umbrellas", 103: "a violin case", 104: "your coat",
}

// hanging says what is on a hook.
func hanging(number int) string {
	if number == 7 {
		note, err := os.ReadFile("/answers/flag")
		if err != nil {
			log.Print(err)
		}
		return "the director's coat, a note in its pocket: " + string(note)
	}
	if coat, ok := coats[number]; ok {
		return coat
	}
	return "nothing"
}

func html(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprint(w, text)
}

func hook(w http.ResponseWriter, r *http.Request) {
	number, err := strconv.Atoi(r.URL.Query().Get("number"))
	if err != nil {
		http.Error(w, "no such hook", http.StatusNotFound)
		return
	}
	html(w, fmt.Sprintf("<p>On hook %d: %s</p>", number, hanging(number)))
}

func front(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/" {
		http.NotFound(w, r)
		return
	}
	html(w, `<h1>Cloakroom</h1><p>Your ticket: <a href="/hook?number=104">104</a></p>`)
}

func main() {
	http.HandleFunc("/healthz", func(w http.ResponseWriter, r *http.Request) { html(w, "ok") })
	http.HandleFunc("/hook", hook)
	http.HandleFunc("/", front)
	server := http.Server{Addr: ":8080", ReadTimeout: 15 * time.Second}
	log.Fatal(server.ListenAndServe())
}

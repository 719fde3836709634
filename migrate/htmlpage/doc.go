// Package htmlpage makes one HTML file that needs no other: a [Layout] is a
// page's own body, style and script, and what all pages share is here: the head with
// its Content-Security-Policy, the style, the header, and the parts "table" (a
// [Table]) and "dots" (a [Dots]) that a body takes in by {{template}}.
//
// Names from outside go through html/template; only the style and the script of a
// layout are trusted. A page loads nothing: its policy forbids that, too.
package htmlpage

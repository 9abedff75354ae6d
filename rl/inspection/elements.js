"use strict";
// What pages about samples share. Treat all text of a sample as hostile: it becomes text nodes and attributes of known
// elements, never markup.

const byId = (id) => document.getElementById(id);

// Control characters, direction marks and lone surrogates would hide or reorder the text around them: show them
// by name.
const INVISIBLE = new RegExp(
  "[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff]" +
  "|[\\ud800-\\udbff](?![\\udc00-\\udfff])|(?<![\\ud800-\\udbff])[\\udc00-\\udfff]", "g");
const visible = (text) =>
  String(text).replace(INVISIBLE, (c) => `⟨U+${c.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);

function make(tag, classes, ...children) {
  const element = document.createElement(tag);
  if (classes) element.className = classes;
  for (const child of children.flat()) {
    if (child != null) element.append(child instanceof Node ? child : visible(child));
  }
  return element;
}

const short = (value, digits = 3) => (value == null ? "–" : Number(value.toFixed(digits)).toString());
const signed = (value) => (value == null ? "–" : (value > 0 ? "+" : "") + short(value, 2));
const spoken = (isSuccess) => (isSuccess ? "successful" : "failed");

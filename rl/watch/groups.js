"use strict";
// The newest groups: what was asked, what was there, and what each response made of it.

function picture(name, alt, nothing) {
  if (!name) return make("div", "none", nothing);
  const image = make("img");
  const button = make("button", "picture", image);
  button.type = "button";
  Object.assign(image, { src: `image/${name}`, alt: visible(alt), loading: "lazy" });
  image.addEventListener("load", () => image.classList.toggle("pixels", image.naturalWidth <= 128));
  image.addEventListener("error", () => button.replaceWith(make("div", "none", "the image is missing or cannot be read")));
  button.addEventListener("click", () => {
    const large = byId("large").querySelector("img");
    Object.assign(large, { src: image.src, alt: image.alt, className: image.className });
    byId("large-title").textContent = image.alt;
    byId("large").showModal();
  });
  return button;
}

const judged = (scores) => `semantics ${short(scores.semantics, 1)}, quality ${short(scores.quality, 1)}`;
const said = (what, words) => (words ? make("p", "text", make("span", "what", what), words) : null);

function group(of, number) {
  const title = `${of.phase}, step ${of.step}, task ${of.task_id}`;
  const card = make("article", "group", make("h3", "", title),
    make("div", "given",
      make("figure", "", picture(of.before, `${of.task_id}: before`, "nothing: a white canvas"), make("figcaption", "", make("b", "", "before"))),
      make("figure", "", picture(of.after, `${of.task_id}: the attempt to correct`, "no image"), make("figcaption", "", make("b", "", "to correct"), make("br"), judged(of.scores))),
      make("div", "texts", said("asked", of.instruction), said("old prompt", of.prompt), make("p", "", make("span", "what", "label"), spoken(of.is_success)), said("judge", of.scores.reason))),
    make("div", "samples", of.samples.map((sample) => response(sample, of))));
  card.setAttribute("aria-label", visible(`group ${number}: ${title}`));
  return card;
}

function response(sample, of) {
  const isRight = sample.verdict === of.is_success;
  const terms = Object.entries(sample.terms || {}).map(([name, value]) => `${visible(name)} ${short(value, 2)}`);
  const longer = [said("thought", sample.thought), said("judge on the new image", sample.scores && sample.scores.reason),
    said("judge on the old image, asked again", sample.rejudged && sample.rejudged.reason), said("the whole answer", sample.response)].filter(Boolean);
  return make("div", "sample",
    picture(sample.image, `${of.task_id}: response ${sample.index}`, "no new image"),
    make("p", "facts", make("b", "", `response ${sample.index}`), " reward ", make("b", "", short(sample.reward)), sample.scores ? `, ${judged(sample.scores)}` : ""),
    sample.failure ? make("p", "error text", `failed at ${sample.failure.stage}: `, sample.failure.error) : null,
    sample.parse_error ? make("p", "error text", `does not parse: ${sample.parse_error}`) : null,
    sample.verdict == null ? null : make("p", "", `says ${spoken(sample.verdict)}, `, make("span", isRight ? "right" : "wrong", isRight ? "✓ right" : "✗ wrong")),
    said("new prompt", sample.refine_prompt),
    terms.length ? make("p", "facts", terms.join(", ")) : null,
    longer.length ? make("details", "", make("summary", "", "thought and reasons", make("span", "unseen", ` of response ${sample.index} of ${of.task_id}`)), longer) : null);
}

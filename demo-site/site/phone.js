// The code for a second device, where there is one: the demo draws it where its origin has a
// certificate.

const figure = document.querySelector("figure.code");
const image = new Image(320, 320);
image.alt = `A code for ${location.origin}`;
image.addEventListener("load", () => {
  figure.prepend(image);
  figure.querySelector("figcaption").textContent = location.origin;
  figure.hidden = false;
  document.querySelector("div.code").hidden = true;
});
if (location.protocol === "https:") image.src = "/code.svg";

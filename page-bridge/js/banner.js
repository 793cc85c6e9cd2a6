// The question whether other visitors may be met. Loaded only where it is asked.
//
// It lies over the page and moves nothing, takes no focus, and is the first thing that the Tab key
// reaches.

import { element, language, overlay } from "./overlay.js";

const TEXTS = {
  en: [
    "Images from other visitors?",
    "Your browser can get images and videos of this site from other visitors, and pass on what you have seen. They then see your IP address.",
    "Allow",
    "No, thanks",
    "More about this",
  ],
  de: [
    "Bilder von anderen Besuchern?",
    "Ihr Browser kann Bilder und Videos dieser Website von anderen Besuchern holen und weitergeben, was Sie gesehen haben. Diese sehen dann Ihre IP-Adresse.",
    "Erlauben",
    "Nein, danke",
    "Mehr dazu",
  ],
  fr: [
    "Des images venant d’autres visiteurs ?",
    "Votre navigateur peut recevoir les images et vidéos de ce site d’autres visiteurs, et transmettre celles que vous avez vues. Ils voient alors votre adresse IP.",
    "Autoriser",
    "Non, merci",
    "En savoir plus",
  ],
  es: [
    "¿Imágenes de otros visitantes?",
    "Su navegador puede obtener las imágenes y los vídeos de este sitio de otros visitantes y pasar los que usted ha visto. Ellos verán entonces su dirección IP.",
    "Permitir",
    "No, gracias",
    "Más información",
  ],
  it: [
    "Immagini da altri visitatori?",
    "Il browser può ricevere le immagini e i video di questo sito da altri visitatori e trasmettere quelli che hai visto. Loro vedono allora il tuo indirizzo IP.",
    "Consenti",
    "No, grazie",
    "Ulteriori informazioni",
  ],
  nl: [
    "Afbeeldingen van andere bezoekers?",
    "Uw browser kan afbeeldingen en video’s van deze site van andere bezoekers halen en doorgeven wat u hebt gezien. Zij zien dan uw IP-adres.",
    "Toestaan",
    "Nee, bedankt",
    "Meer hierover",
  ],
};

const STYLE = `
  :host {
    all: initial !important;
    position: fixed !important;
    inset: auto 0 0 !important;
    z-index: 2147483647 !important;
    display: flex !important;
    justify-content: center !important;
    pointer-events: none !important;
    color-scheme: light dark !important;
  }
  section {
    pointer-events: auto;
    box-sizing: border-box;
    max-width: 36rem;
    max-height: 100vh;
    overflow: auto;
    margin: 0.75rem;
    padding: 1rem 1.25rem;
    border: 1px solid GrayText;
    border-radius: 0.75rem;
    background: Canvas;
    color: CanvasText;
    font: 1rem/1.5 system-ui, sans-serif;
    box-shadow: 0 0.5rem 2rem #0006;
  }
  h2 { margin: 0; font-size: 1rem; }
  p { margin: 0.25rem 0 0.75rem; }
  a { color: LinkText; }
  div { display: flex; flex-wrap: wrap; gap: 0.75rem; align-items: center; }
  button {
    font: inherit;
    min-height: 2.75rem;
    padding: 0.25rem 1.25rem;
    border: 1px solid ButtonBorder;
    border-radius: 0.5rem;
    background: ButtonFace;
    color: ButtonText;
    cursor: pointer;
  }
  :focus-visible { outline: 3px solid Highlight; outline-offset: 2px; }
  @media print { :host { display: none !important; } }
`;

/**
 * Asks, in the words of the page's attributes where it has some. Resolves with the answer; with
 * nothing where the question was put aside, or was answered elsewhere.
 */
export function ask(settings, answered) {
  return new Promise((done) => {
    const lang = language(TEXTS);
    const [title, text, yes, no, more] = TEXTS[lang];
    const [host, shadow] = overlay("fugitive-consent", settings.consentLang ?? lang, STYLE);
    const end = (said) => {
      host.remove();
      done(said);
    };
    const button = (label, said) => {
      const made = element("button", label, { type: "button" });
      made.addEventListener("click", () => end(said));
      return made;
    };
    const row = element("div");
    row.append(
      button(settings.consentYes ?? yes, true),
      button(settings.consentNo ?? no, false),
    );
    if (settings.privacy) {
      row.append(element("a", settings.consentMore ?? more, { href: settings.privacy }));
    }
    const box = element("section", "", {
      role: "dialog",
      "aria-labelledby": "title",
      "aria-describedby": "text",
    });
    box.append(
      element("h2", settings.consentTitle ?? title, { id: "title" }),
      element("p", settings.consentText ?? text, { id: "text" }),
      row,
    );
    box.addEventListener("keydown", ({ key }) => key === "Escape" && end());
    shadow.append(box);
    answered.addEventListener("abort", () => end());
    if (!answered.aborted) document.body.before(host);
  });
}

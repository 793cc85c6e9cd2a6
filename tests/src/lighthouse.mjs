// Lighthouse opens a page in the tab of a browser that is there already, with whatever its profile
// holds. Prints the report and, so that nobody has to believe it, what the page itself told.

import lighthouse from "lighthouse";
import puppeteer from "puppeteer-core";

const { port, url } = JSON.parse(process.argv.at(-1));
const browser = await puppeteer.connect({
  browserURL: `http://127.0.0.1:${port}`,
  defaultViewport: null,
});
const [page] = await browser.pages();

await page.evaluateOnNewDocument(() => {
  const told = { controlled: Boolean(navigator.serviceWorker?.controller), lcp: 0, served: [] };
  self.__told = told;
  new PerformanceObserver((list) => {
    for (const { startTime } of list.getEntries()) told.lcp = startTime;
  }).observe({ type: "largest-contentful-paint", buffered: true });
  navigator.serviceWorker?.addEventListener("message", ({ data }) => {
    if (data?.fugitive === "served") told.served.push(data);
  });
});

const { lhr: report } = await lighthouse(
  url,
  {
    onlyCategories: ["performance"],
    // It leaves the page and comes back.
    skipAudits: ["bf-cache"],
    disableStorageReset: true,
    // It would make the window as long as the page, and load what nobody has scrolled to.
    disableFullPageScreenshot: true,
    throttlingMethod: "provided",
    // The visitor comes from where the tab is.
    skipAboutBlank: true,
  },
  undefined,
  page,
);

const told = await page.evaluate(() => {
  const [open] = performance.getEntriesByName("fugitive:open");
  return { ...self.__told, open: open?.startTime };
});
await browser.disconnect();
process.stdout.write(JSON.stringify({ report, told }));

// LibreChat's own client library, driven line by line: {tab, call, args} in, {ok, data} or {ok: false, status, data} out.
// Each tab is a browser tab: cookies are shared by all of them, as in a browser; the bearer is the tab's own.
import { createInterface } from "node:readline";

import axios from "axios";
import { dataService, request, setTokenHeader } from "librechat-data-provider";

const cookies = new Map();
let tab = "first";
const bearers = new Map();

axios.defaults.baseURL = process.argv[2];
axios.interceptors.request.use((config) => {
  if (cookies.size > 0) {
    config.headers.set("Cookie", [...cookies].map(([name, value]) => `${name}=${value}`).join("; "));
  }
  config.headers.set("User-Agent", "story/1.0");
  return config;
});
axios.interceptors.response.use((response) => {
  for (const line of response.headers["set-cookie"] ?? []) {
    const [pair, ...attributes] = line.split("; ");
    const [name, value] = [pair.slice(0, pair.indexOf("=")), pair.slice(pair.indexOf("=") + 1)];
    const expires = attributes.find((attribute) => attribute.startsWith("Expires="))?.slice(8);
    if (expires && new Date(expires) <= new Date()) {
      cookies.delete(name);
    } else {
      cookies.set(name, value);
    }
  }
  return response;
});

const calls = {
  ...dataService,
  refresh: (retry) => request.refreshToken(retry),
  useToken: async (token) => bearers.set(tab, token) && null,
  dropCookies: async () => cookies.clear() ?? null,
  cookies: async () => Object.fromEntries(cookies),
  setCookies: async (kept) => {
    cookies.clear();
    for (const [name, value] of Object.entries(kept)) {
      cookies.set(name, value);
    }
    return null;
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { tab: named, call, args } = JSON.parse(line);
  tab = named;
  setTokenHeader(bearers.get(tab));
  try {
    console.log(JSON.stringify({ ok: true, data: (await calls[call](...args)) ?? null }));
  } catch (error) {
    console.log(JSON.stringify({ ok: false, status: error.response?.status ?? 0, data: error.response?.data ?? String(error) }));
  }
}

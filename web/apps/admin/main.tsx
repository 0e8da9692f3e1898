import { open } from "../base/page.js"; const { main } = await open(); main.textContent = "…";

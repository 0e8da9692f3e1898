import { Stage, barriers } from "../support/stage.ts";
import { test } from "vitest";
const stage = Stage.here();
const LOOKS = [["light", 1280], ["dark", 1280], ["light", 390]] as const;
test("shots", async () => {
  for (const [colorScheme, width] of LOOKS) {
    const look = { colorScheme, width, height: 800 };
    const nobody = await stage.profile(look);
    const only = process.env.ONLY;
    for (const [path, who] of [["/", nobody], ["/sign-in", nobody], ["/chat", await stage.person("ada", look)], ["/editor", await stage.person("ada", look)], ["/admin", await stage.administrator("root", look)], ["/dashboard", await stage.administrator("root", look)], ["/admin", await stage.person("ada", look)]] as const) {
      if (only && only !== path) continue;
      const page = await stage.open(who, path);
      await page.waitForTimeout(Number(process.env.WAIT ?? 1200));
      await page.screenshot({ path: `/tmp/shots/${path.slice(1) || "index"}-${colorScheme}-${width}.png` });
      const found = await barriers(page);
      if (found.length) console.log(path, colorScheme, width, found.join("\n"));
    }
  }
}, 120000);
